//! Evaluation of LogQL over what the scan operator yields.

mod number;

pub use number::arithmetic;
