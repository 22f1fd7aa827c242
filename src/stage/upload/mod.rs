//! Publishes an image to one place: how that is planned, and how it is a stage. The places themselves are `places`.

#[cfg(test)]
mod example;
mod listing;
mod plan;
mod task;

pub use self::plan::UploadWork;
pub(super) use self::plan::plan;
pub use self::task::Receipts;
