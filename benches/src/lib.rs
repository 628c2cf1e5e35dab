//! milepost measured beside the SQLite way of doing it.
//!
//! One [`plan`] of work is carried out by several [`sides`], each behind the same [`rival::Rival`]
//! trait, and after every run each side has to show the same totals and counts as the [`ledger`]:
//! none may skip work. The `compare` program runs them in turns (A B A B), prints tables, and
//! holds the ratios against the targets. The `scale` program measures milepost alone, as the store
//! grows.
//!
//! From the ground up; each uses only those before it:
//!
//! - [`plan`]: the work, as data: who checkpoints what, and what the tiers hold beforehand.
//! - [`ledger`]: what must be stored after it.
//! - [`dashboard`]: the questions of a dashboard, asked of every side.
//! - [`rival`]: what a side has to do.
//! - [`sides`]: milepost, three ways of using SQLite, and redb without milepost.
//! - [`books`]: how far the work is.
//! - [`run`]: carries out a plan from one or many threads, and times it.
//! - [`device`]: counts what milepost writes. [`floor`]: what the disk can do at best.
//! - [`machine`], [`report`], [`tables`]: where it ran; figures, ratios and targets; how they are
//!   printed.
//! - [`chart`]: lines over axes in powers of ten.
//! - [`child`]: parts that need a process of their own.
//! - [`compare`]: the sections of the comparison.
//! - [`plots`]: its figures, drawn.
//! - [`scale`]: what each operation costs as the store grows.

pub mod books;
pub mod chart;
pub mod child;
pub mod compare;
pub mod dashboard;
pub mod device;
pub mod floor;
pub mod ledger;
pub mod machine;
pub mod plan;
pub mod plots;
pub mod report;
pub mod rival;
pub mod run;
pub mod scale;
pub mod sides;
pub mod tables;
