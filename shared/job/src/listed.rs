//! The functions of a handler, as it lists them.

use serde::{Deserialize, Serialize};

/// A function as a handler lists it (`handler functions`), for those who compare it with what is deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedFunction {
    /// Its name.
    pub function: String,
    /// The text of its `function.json`.
    pub config: String,
}
