//! Colours and classes, in one style sheet.

/// A class for each series of a chart: Okabe and Ito's colours, which colour-blind readers can tell apart,
/// made darker or lighter where the page gives too little contrast.
pub const SERIES: [&str; 7] = ["ink", "orange", "blue", "green", "brown", "violet", "pink"];

/// Each colour's class, and the colour on a light page and on a dark one.
const COLOURS: [(&str, &str, &str); 9] = [
    ("ink", "#1f2328", "#e6edf3"),
    ("soft", "#59636e", "#9da7b1"),
    ("faint", "#d5dbe1", "#39414a"),
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
