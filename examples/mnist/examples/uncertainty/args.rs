//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use mnist_experiment::data::DEFAULT_DIRECTORY;

/// Trains the MNIST model, turns a test digit through 180 degrees, and draws how sure the model is
#[derive(Parser, Debug)]
#[command(name = "uncertainty", max_term_width = 100)]
pub struct Args {
    /// Where to write the picture, an SVG
    #[arg(long, value_name = "FILE", default_value = "uncertainty.svg")]
    pub out: PathBuf,

    #[arg(long, value_name = "DIR", help = format!("A directory with the four IDX files, plain or .gz; MNIST is downloaded into it if it has none [default: {DEFAULT_DIRECTORY}]"))]
    pub data_dir: Option<PathBuf>,

    /// Use built-in digits; never touches the network
    #[arg(long, conflicts_with = "data_dir")]
    pub synthetic: bool,

    /// Which digit to turn: the first of its class among the test images
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i64).range(0..10))]
    pub digit: i64,

    /// Forwards with dropout
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(i64).range(1..))]
    pub passes: i64,

    /// The seed of training and of all passes
    #[arg(long, default_value_t = 0)]
    pub seed: i64,

    /// Draw nothing: time Monte Carlo dropout beside as many plain forwards
    #[arg(long, conflicts_with = "out")]
    pub time: bool,
}

impl Args {
    /// Reads the command line; on a mistake, prints one line about it.
    pub fn read() -> Result<Args, ExitCode> {
        let error = match Args::try_parse() {
            Ok(args) => return Ok(args),
            Err(error) => error,
        };
        if error.kind() == ErrorKind::DisplayHelp {
            print!("{error}");
            return Err(ExitCode::SUCCESS);
        }
        let text = error.to_string();
        eprintln!("{} (--help tells more)", text.lines().next().unwrap_or_default());
        Err(ExitCode::from(2))
    }
}
