//! Random numbers: which ones belong to a layer's k-th mask, and what they are.

pub(crate) mod counter;
pub(crate) mod philox;
pub(crate) mod stream;
pub(crate) mod streams;
