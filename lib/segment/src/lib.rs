//! segment

pub mod recent;
