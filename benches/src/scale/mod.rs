//! What each operation of milepost costs as the store grows.
//!
//! One thing grows at a time, an [`Axis`]; every store of every size is measured in a process of
//! its own, so that its memory is known. One caller makes each call again and again, and the least
//! mean of a few calls in a row is its cost: what other programs of the machine add is dropped.
//! Only where workers wait, the mean of all calls is the cost, since it is the waiting workers who
//! disturb. An exponent is fitted through the costs at all sizes, and one through those at the
//! largest three, which is held against what the operation may have.
//!
//! From the ground up:
//!
//! - `costs`: times calls. `fit`: exponents.
//! - `store`, `questions`: all calls to the library.
//! - `scene`: a store with leases, and what is done to it at every size.
//! - `axes`, `waiting`: what grows.
//! - `cell`: one store of one size, in a process of its own.
//! - `report`, `plot`: the findings as tables and JSON, and drawn.

mod axes;
mod cell;
mod costs;
mod fit;
mod plot;
mod questions;
mod report;
mod scene;
mod store;
mod waiting;

pub use cell::{ARGUMENT, Axis, Cell, Outcome};
pub use costs::{Cost, Growth};
pub use plot::draw;
pub use report::Report;
pub use scene::Footprint;
