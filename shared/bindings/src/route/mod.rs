//! Routes of HTTP functions: the templates of ASP.NET Core.
//!
//! A template is a path whose segments are texts or parameters: `orders/{id:int}/{*rest}`. A
//! parameter may have constraints (`{id:int:min(1)}`), may be optional (`{id?}`, at the end) or
//! have a default (`{id=7}`), and the last one may take all the rest (`{*rest}`, `{**rest}`).
//! Texts ignore case. Texts and parameters may share a segment (`{name}.{kind}`).
//!
//! Of several routes that match a path the most special one wins, judged segment by segment: text
//! before constrained parameter or mixture before parameter before catch-all.

mod constraint;
mod parameter;
mod segment;
mod template;

pub use constraint::{Constraint, UnknownConstraint};
pub use template::{RouteError, RouteTemplate, RouteValues};
