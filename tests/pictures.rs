//! The examples that draw, and the pictures of docs/images.

mod common;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Output;

use common::{example, stderr};
use serde_json::{Value, json};
use tempfile::TempDir;

fn run(name: &str, directory: &TempDir, arguments: &[&str]) -> Output {
    example(name).current_dir(directory.path()).args(arguments).output().unwrap()
}

/// What the example draws.
#[track_caller]
fn draw(name: &str, directory: &TempDir, arguments: &[&str]) -> String {
    let output = run(name, directory, &[arguments, &["--out", "x.svg"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    fs::read_to_string(directory.path().join("x.svg")).unwrap()
}

#[test]
fn pictures_of_the_pages_are_small_and_have_words_and_both_schemes() {
    let of_the_papers = [
        "errors",
        "data-size",
        "rate",
        "features",
        "drop-connect",
        "regression",
        "calibration",
        "depth",
    ];
    let others = ["masks", "speed", "uncertainty", "mnist", "language-model", "attention-memory"];
    for name in others.into_iter().chain(of_the_papers) {
        let svg = fs::read_to_string(format!("docs/images/{name}.svg")).unwrap();
        assert!(svg.len() < 60_000, "{name}: {} bytes", svg.len());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
        for part in ["width=\"830\"", "<title>", "<desc>", "prefers-color-scheme:dark"] {
            assert!(svg.contains(part), "{name} should have {part}");
        }
        // An empty group closes itself.
        let opens = |tag: &&str| tag.split_once('>').is_some_and(|(tag, _)| !tag.ends_with('/'));
        let opened = svg.split("<g").skip(1).filter(opens).count();
        assert_eq!(opened, svg.matches("</g>").count(), "{name}");
    }
}

/// The names that a picture has beside its series, each with the class of its colour.
fn series(svg: &str) -> Vec<(String, String)> {
    let mut named = Vec::new();
    // All is in a group of the page's ink.
    let page = svg.split_once("<g class=\"ink\">").unwrap().1;
    for group in page.split("<g class=\"").skip(1) {
        let (colour, rest) = group.split_once("\">").unwrap();
        let own = rest.split("</g>").next().unwrap();
        let name =
            own.split_once("<text class=\"bold").map(|(_, text)| text.lines().nth(1).unwrap());
        named.extend(name.map(|name| (name.split(':').next().unwrap().into(), colour.into())));
    }
    named
}

#[test]
fn a_colour_stands_for_what_is_dropped_in_all_pictures() {
    let mut count = 0;
    for file in fs::read_dir("docs/images").unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "svg") {
            continue;
        }
        for (name, colour) in series(&fs::read_to_string(&path).unwrap()) {
            let expected = match &*name {
                "no dropout" | "without dropout" | "none" | "nothing" => "ink",
                "with dropout"
                | "test"
                | "training"
                | "elements"
                | "max-norm"
                | "dropout, off"
                | "Monte Carlo"
                | "Dropout, mean"
                | "Dropout, Monte Carlo" => "blue",
                "libtorch without dropout" => "ink",
                "Attention" => "blue",
                "libtorch" => "orange",
                "channels" => "green",
                "columns" => "violet",
                "samples" | "batch, skips" => "brown",
                name if name.starts_with("DropConnect") => "pink",
                _ => panic!("{}: nobody said what colour {name} has", path.display()),
            };
            assert_eq!(colour, expected, "{}: {name}", path.display());
            count += 1;
        }
    }
    assert!(count > 30, "found {count} series");
}

/// Pictures that depend on no processor; scripts/pictures.sh draws the others too.
#[test]
fn pictures_of_the_pages_are_what_their_examples_draw() {
    let directory = tempfile::tempdir().unwrap();
    let figures = Path::new("docs/images/speed.json").canonicalize().unwrap();
    for (name, arguments) in [("masks", &[][..]), ("speed_chart", &[figures.to_str().unwrap()])] {
        let path = format!("docs/images/{}.svg", name.trim_end_matches("_chart"));
        let same = draw(name, &directory, arguments) == fs::read_to_string(&path).unwrap();
        assert!(same, "{path} is out of date: sh scripts/pictures.sh --update draws it");
    }
}

/// The corner of a cell.
type Corner = (usize, usize);

/// A panel of the masks.
struct Panel {
    /// The mask's shape, as it is written above: a dimension's name, or 1.
    shape: Vec<String>,
    kept: HashMap<Corner, bool>,
    outlined: HashSet<Corner>,
}

impl Panel {
    fn new(svg: &str) -> Panel {
        let shape = svg.split_once(']').unwrap().0.split(", ").map(str::to_owned).collect();
        let cells = |class: &str| -> Vec<Corner> {
            let path = svg.split_once(&format!("<path class=\"fill {class}\" d=\"")).unwrap().1;
            let path = path.split_once('"').unwrap().0;
            path.split('M').skip(1).map(|cell| corner(cell.split_once('h').unwrap().0)).collect()
        };
        let (kept, dropped) = (cells("blue"), cells("faint"));
        let kept = kept.iter().map(|&cell| (cell, true));
        let kept: HashMap<_, _> = kept.chain(dropped.iter().map(|&cell| (cell, false))).collect();
        assert_eq!(kept.len(), 6 * 4 * 3, "each cell is drawn once");
        let frames: Vec<_> = svg.lines().filter(|line| line.starts_with("<rect")).collect();
        let inside = |&&(x, y): &&Corner| {
            frames.iter().any(|frame| {
                let number = |name| attribute(frame, name);
                let (left, top) = (number("x"), number("y"));
                let (right, bottom) = (left + number("width"), top + number("height"));
                (left..right).contains(&(x as f64)) && (top..bottom).contains(&(y as f64))
            })
        };
        Panel { shape, outlined: kept.keys().filter(inside).copied().collect(), kept }
    }

    /// A cell's place in the mask, but for dimensions that share a draw, and this one.
    fn draw(&self, (x, y): Corner, without: Option<usize>) -> Vec<usize> {
        // A cell takes 13 pixels, and a group of three another 6.
        let place = if self.shape.len() == 2 { vec![y, x] } else { vec![y, x / 45, x % 45] };
        let own = |dimension: &usize| self.shape[*dimension] != "1" && Some(*dimension) != without;
        (0..place.len()).filter(own).map(|dimension| place[dimension]).collect()
    }

    /// Whether the cells of each draw are all kept or all dropped.
    fn is_whole(&self, without: Option<usize>) -> bool {
        let mut draws: HashMap<_, HashSet<bool>> = HashMap::new();
        for (&cell, &kept) in &self.kept {
            draws.entry(self.draw(cell, without)).or_default().insert(kept);
        }
        draws.values().all(|values| values.len() == 1)
    }
}

fn corner(text: &str) -> Corner {
    let (x, y) = text.split_once(' ').unwrap();
    (x.parse().unwrap(), y.parse().unwrap())
}

/// A number of an element.
fn attribute(element: &str, name: &str) -> f64 {
    let value = element.split_once(&format!(" {name}=\"")).unwrap().1;
    value.split_once('"').unwrap().0.parse().unwrap()
}

#[test]
fn masks_are_drawn_as_the_noise_shapes_say() {
    let svg = draw("masks", &tempfile::tempdir().unwrap(), &[]);
    let panels: Vec<_> = svg.split("mask [").skip(1).map(Panel::new).collect();
    let shapes: Vec<_> = panels.iter().map(|panel| panel.shape.join(", ")).collect();
    let expected = ["N, C, L", "N, C, 1", "N, 1, 1", "1, C, 1", "N, 1, C", "1, 1, 1", "out, in"];
    assert_eq!(shapes, expected);
    for panel in &panels {
        let shape = &panel.shape;
        assert!(panel.is_whole(None), "{shape:?}: cells of one draw differ");
        let own = (0..shape.len()).filter(|&dimension| shape[dimension] != "1");
        for dimension in own {
            assert!(!panel.is_whole(Some(dimension)), "{shape:?}: {} shares", shape[dimension]);
        }
        let one = panel.draw(*panel.outlined.iter().next().unwrap(), None);
        let of_it = panel.kept.keys().filter(|&&cell| panel.draw(cell, None) == one);
        assert_eq!(panel.outlined, of_it.copied().collect(), "{shape:?}: the outlined draw");
    }
}

#[test]
fn a_seed_decides_the_masks() {
    let directory = tempfile::tempdir().unwrap();
    let of = |seed| draw("masks", &directory, &["--seed", seed]);
    assert_eq!(of("1"), of("1"));
    assert_ne!(of("1"), of("2"));
}

/// What the bench writes, as far as it is drawn.
fn figures(libtorch: f64, elements: f64) -> Value {
    let measurement = |pass, variant, median_ns| {
        json!({"shape": [64, 512], "kind": "f32", "pass": pass, "p": 0.5, "variant": variant,
               "median_ns": median_ns})
    };
    json!({
        "machine": {"device": "cpu", "cpu": "A & B", "threads": 2, "libtorch": "2.13.0"},
        "measurements": [
            measurement("forward", "Tensor::dropout", libtorch),
            measurement("forward", "elements", elements),
            measurement("forward_backward", "Tensor::dropout", 8e6),
            measurement("forward_backward", "elements", 2e6),
        ],
    })
}

#[test]
fn bars_are_as_long_as_calls_take() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("x.json"), figures(300e3, 10e3).to_string()).unwrap();
    let svg = draw("speed_chart", &directory, &["x.json"]);
    let bars = svg.lines().filter(|line| line.starts_with("<rect")).skip(2);
    let widths: Vec<_> = bars.map(|bar| attribute(bar, "width")).collect();
    assert_eq!(widths, [180.0, 45.0, 180.0, 6.0]);
    let texts: Vec<_> = svg.lines().collect();
    for text in [
        "4.0 times as fast as libtorch with the backward pass, 30 without",
        "[64, 512]",
        "32,768 elements",
        "300 µs",
        "10 µs",
        "30×",
        "8.0 ms",
        "2.0 ms",
        "4.0×",
        "Each pair of bars has its own scale. f32, p = 0.5, A &amp; B, 2 threads, libtorch 2.13.0.",
    ] {
        assert!(texts.contains(&text), "{text:?} should be in {svg}");
    }
}

/// The bench's figures say where they come from, and how far apart the turns were.
#[test]
fn the_chart_shows_the_spread_and_where_the_figures_come_from() {
    let directory = tempfile::tempdir().unwrap();
    let mut figures = figures(300e3, 10e3);
    for (measurement, quartiles) in figures["measurements"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .zip([[270e3, 330e3], [9e3, 12e3], [8e6, 8e6], [1e6, 4e6]])
    {
        measurement["quartiles_ns"] = json!(quartiles);
    }
    figures["machine"]["commit"] = json!("abc1234");
    figures["machine"]["date"] = json!("2026-11-27");
    figures["machine"]["rustc"] = json!("rustc 1.95.0 (59807616e 2026-04-14)");
    fs::write(directory.path().join("x.json"), figures.to_string()).unwrap();
    let svg = draw("speed_chart", &directory, &["x.json"]);
    let spreads = svg.lines().filter(|line| line.starts_with("<line"));
    let lengths: Vec<f64> =
        spreads.map(|line| attribute(line, "x2") - attribute(line, "x1")).collect();
    // 180 pixels are 8 ms in the first cell, and 330 µs in the second.
    let expected = [0.0, 67.5, 32.7, 1.6];
    assert!(lengths.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.11), "{lengths:?}");
    assert_eq!(lengths.len(), 4);
    let words =
        "A line on a bar: the middle half of the turns. commit abc1234, 2026-11-27, rustc 1.95.0.";
    assert!(svg.lines().any(|line| line == words), "{svg}");
}

#[test]
fn figures_that_cannot_be_drawn_are_one_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let mut lacking = figures(1.0, 1.0);
    lacking["measurements"].as_array_mut().unwrap().pop();
    let mut none = figures(1.0, 1.0);
    none["measurements"] = json!([]);
    for (figures, words) in [
        (lacking.to_string(), "lack 'elements' on [64, 512], f32, forward_backward"),
        (none.to_string(), "none of f32"),
        (figures(0.0, 1.0).to_string(), "'Tensor::dropout' on [64, 512], f32, forward"),
        ("[]".to_owned(), "x.json is not what"),
        ("no".to_owned(), "x.json is not what"),
    ] {
        fs::write(directory.path().join("x.json"), figures).unwrap();
        let text = stderr(&run("speed_chart", &directory, &["x.json", "--out", "speed.svg"]));
        assert!(text.starts_with("error: ") && text.contains(words), "{words:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let text = stderr(&run("speed_chart", &directory, &["y.json", "--out", "speed.svg"]));
    assert!(text.starts_with("error: cannot read y.json"), "{text}");
    assert!(!directory.path().join("speed.svg").exists());
}

#[test]
fn a_picture_that_cannot_be_written_is_one_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let output = run("masks", &directory, &["--out", "no/such/x.svg"]);
    assert!(!output.status.success());
    assert!(stderr(&output).starts_with("error: cannot write no/such/x.svg"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}
