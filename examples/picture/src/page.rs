//! A picture and its text.

use svg::Document;
use svg::node::Node;
use svg::node::element::{Description, Group, Style, Text, Title};

use crate::style;

/// The width of a picture in a README.
pub const WIDTH: f64 = 830.0;

/// What stands on results of a trial, in pictures and beside them.
pub const TRIAL: &str = "a trial: figures mean nothing";

/// A picture that is being drawn.
pub struct Page {
    content: Group,
    title: String,
    description: String,
    height: f64,
}

impl Page {
    /// The title and the description are for readers who cannot see the picture.
    pub fn new(title: &str, description: &str, height: f64) -> Page {
        let content = Group::new().set("class", "ink");
        Page { content, title: title.to_owned(), description: description.to_owned(), height }
    }

    /// A page that shows its title, and says whether its figures are a trial's.
    pub fn titled(title: &str, description: &str, height: f64, is_trial: bool) -> Page {
        let mut page = Page::new(title, description, height);
        page.add(text(title, (14.0, 26.0), "title"));
        if is_trial {
            page.add(text(TRIAL, (WIDTH - 14.0, 12.0), "end bold small"));
        }
        page
    }

    pub fn add(&mut self, node: impl Into<Box<dyn Node>>) {
        self.content.append(node);
    }

    /// The SVG.
    pub fn finish(self) -> String {
        let document = Document::new()
            .set("viewBox", (0, 0, WIDTH, self.height))
            .set("width", WIDTH)
            .set("height", self.height)
            .set("role", "img")
            .add(Title::new(self.title))
            .add(Description::new().add(svg::node::Text::new(self.description)))
            .add(Style::new(style::sheet()))
            .add(self.content);
        format!("{document}\n")
    }
}

/// A line of text whose baseline begins at a point; with the class `middle` or `end`, it is centred there or
/// ends there.
pub fn text(words: impl Into<String>, (x, y): (f64, f64), class: &str) -> Text {
    let text = Text::new(words.into()).set("x", tenth(x)).set("y", tenth(y));
    if class.is_empty() { text } else { text.set("class", class) }
}

/// Rounds to a tenth of a pixel; nobody sees a finer difference.
pub fn tenth(pixels: f64) -> f64 {
    (pixels * 10.0).round() / 10.0 + 0.0 // which makes -0 a 0
}
