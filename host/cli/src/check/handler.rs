//! The handler's program: what it was built with against what stands here.

use nightshift_job::ListedFunction;
use serde_json::Value;

use super::{Finding, at};
use crate::checkout::doors::doors;
use crate::checkout::{Checkout, REGISTRY};

/// Compares the functions that a program lists with the doors of `checkout`.
pub(crate) fn compare(checkout: &Checkout, listed: &[ListedFunction], all: &mut Vec<Finding>) {
    let doors = doors(checkout);
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    for door in &doors {
        let found = listed
            .iter()
            .find(|function| function.function == door.name);
        match found {
            None => {
                let found = format!("the handler's program does not know {}", door.name);
                let found = at(&door.file, None, found).expected("a function of the program");
                all.push(found.mend(format!("add it to {REGISTRY}, and build the program again")));
            }
            Some(function) if parsed(&function.config) != parsed(&door.text) => {
                let found = at(
                    &door.file,
                    None,
                    "the handler's program was built with another one",
                );
                let found = found.expected(function.config.clone());
                all.push(found.mend("build the program again"));
            }
            Some(_) => {}
        }
    }
    for function in listed {
        if !doors.iter().any(|door| door.name == function.function) {
            let name = &function.function;
            let found = format!("the handler's program knows {name}, which has no folder");
            let found = at("functions", None, found).expected("a function.json for each");
            all.push(found.mend("write it, or build the program again"));
        }
    }
}
