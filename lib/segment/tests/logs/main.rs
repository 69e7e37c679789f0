//! What a logs segment promises, from the outside: everything that was put in comes out, a scan
//! finds exactly what a naive scan finds, and damage is an error with a name.

#![allow(clippy::unwrap_used, reason = "tests")]

mod corpus;
mod damage;
mod exactness;
mod golden;
mod inspect;
mod limits;
mod merge;
mod naive;
mod volume;
