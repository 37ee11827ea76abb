//! Guides: pages to read beside the API. These modules contain no items.
//!
//! | guide | answers |
//! | --- | --- |
//! | [`building`] | How do I get libtorch, which `tch` and which machines work, what does this error mean? |
//! | [`comparison`] | What do PyTorch, timm, Keras, Flax, burn and others have, and when are they the better choice? |
//! | [`cost`] | What does dropout cost in time and memory, and how does this crate avoid it? |
//! | [`experiments`] | Does it help? The papers' experiments on a smaller scale, with commands and pictures. |
//! | [`masks`] | Which mask does a seed give? The specification, with a reference in Python. |
//! | [`testing`] | How is all this tested? |
//! | [`changelog`] | What changed, and did any mask? |
//!
//! [`migration`](crate::migration) says what to write in place of another library's dropout.

/// Makes a module of a page of the repository.
///
/// A page's links are defined at its end, for whoever reads the file. Markdown takes the first definition of a link, so
/// those that stand before the page lead to modules here. rustdoc copies no pictures, so build.rs writes definitions that
/// contain them.
macro_rules! guides {
    ($($name:ident: $page:literal),* $(,)?) => {$(
        #[doc = include_str!(concat!(env!("OUT_DIR"), "/pictures.md"))]
        #[doc = include_str!("../docs/links.md")]
        #[doc = include_str!($page)]
        pub mod $name {}
    )*};
}

guides! {
    building: "../build.md",
    changelog: "../CHANGELOG.md",
    comparison: "../docs/comparison.md",
    cost: "../docs/cost.md",
    experiments: "../docs/experiments.md",
    masks: "../docs/masks.md",
    testing: "../docs/testing.md",
}
