//! The look that this repository's pictures share: SVG on a transparent page, whose colours follow the
//! reader's light or dark scheme.

pub mod compare;
pub mod lines;
pub mod page;
pub mod plane;
pub mod style;
