//! Colours and classes, in one style sheet.

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// The class of its colour.
    pub colour: &'static str,
    pub is_dashed: bool,
}

// What a colour stands for in all pictures: what is dropped. They are Okabe and Ito's, which colour-blind readers
// can tell apart, made darker or lighter where the page gives too little contrast.

pub const NOTHING: Look = Look::new("ink");
/// Elements, by this crate: its usual dropout.
pub const ELEMENTS: Look = Look::new("blue");
/// Elements, by libtorch.
pub const LIBTORCH: Look = Look::new("orange");
pub const CHANNELS: Look = Look::new("green");
pub const COLUMNS: Look = Look::new("violet");
/// Branches of a residual network: stochastic depth.
pub const BRANCHES: Look = Look::new("brown");
/// DropConnect.
pub const WEIGHTS: Look = Look::new("pink");

impl Look {
    const fn new(colour: &'static str) -> Look {
        Look { colour, is_dashed: false }
    }

    /// The same is dropped, but something else differs: its name says what.
    pub const fn dashed(self) -> Look {
        Look { is_dashed: true, ..self }
    }

    /// The classes of a line in a group of this colour.
    pub fn line(self) -> &'static str {
        if self.is_dashed { "line dashed" } else { "line" }
    }
}

/// Each colour's class, and the colour on a light page and on a dark one.
const COLOURS: [(&str, &str, &str); 10] = [
    ("ink", "#1f2328", "#e6edf3"),
    ("soft", "#59636e", "#9da7b1"),
    ("faint", "#d5dbe1", "#39414a"),
    ("page", "#ffffff", "#0d1117"),
    ("orange", "#c8500a", "#f0883e"),
    ("blue", "#0072b2", "#4aa8e0"),
    ("green", "#007d5c", "#2bbd92"),
    ("brown", "#8a6100", "#d9a520"),
    ("violet", "#6a4bbf", "#b197fc"),
    ("pink", "#b03d86", "#f08cc8"),
];

/// Shapes and text take the colour of their class, or else of their group's class.
const CLASSES: &str = "
text{fill:currentColor;font:14px system-ui,-apple-system,\"Segoe UI\",Helvetica,Arial,sans-serif}
.title{font-size:18px;font-weight:600}
.bold{font-weight:600}
.small{font-size:13px}
.code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,\"DejaVu Sans Mono\",monospace}
.middle{text-anchor:middle}
.end{text-anchor:end}
.fill{fill:currentColor}
.area{fill:currentColor;fill-opacity:.16}
.line{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.dashed{stroke-dasharray:5 5}
.thin{fill:none;stroke:currentColor}
";

pub fn sheet() -> String {
    let colours = |shade: fn(&(&str, &str, &str)) -> String| -> String {
        COLOURS.iter().map(shade).collect::<Vec<_>>().join("\n")
    };
    let light = colours(|(class, light, _)| format!(".{class}{{color:{light}}}"));
    let dark = colours(|(class, _, dark)| format!(".{class}{{color:{dark}}}"));
    format!("{CLASSES}{light}\n@media(prefers-color-scheme:dark){{\n{dark}\n}}\n")
}
