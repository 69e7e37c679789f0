//! segment

pub mod logs;
pub mod recent;
