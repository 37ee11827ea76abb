//! The experiment of the article "Dropout is drop-dead easy to implement", as a library: MNIST, the models,
//! their training, and the results. `examples/` has the two programs that use it.

pub mod args;
pub mod checkpoint;
pub mod console;
pub mod curves;
pub mod data;
pub mod device;
pub mod difference;
pub mod experiment;
pub mod layer;
pub mod metrics;
pub mod model;
pub mod output;
pub mod plot;
pub mod progress;
pub mod report;
pub mod train;
pub mod values;
