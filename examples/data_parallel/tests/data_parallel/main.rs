//! Tests that start `mpirun`, on one machine. Without it they skip, and say so.

#[path = "../../../../tests/common/mod.rs"]
mod common;
#[path = "../../../../tests/statistics/examination.rs"]
mod examination;
mod figures;
mod formulas;
mod gradient;
mod independence;
mod mpirun;
mod replicas;
mod resume;
