//! Routes of HTTP functions: the templates of ASP.NET Core.
//!
//! A template is a path whose segments are texts or parameters: `orders/{id:int}/{*rest}`. A
//! parameter may have constraints (`{id:int:min(1)}`), may be optional (`{id?}`, at the end) or
//! have a default (`{id=7}`), and the last one may take all the rest (`{*rest}`, `{**rest}`).
//! Texts ignore case. A segment is either a text or one parameter; what ASP.NET calls complex
//! segments (`{name}.{kind}`) is refused when the app is loaded, by name.
//!
//! Of several routes that match a path the most special one wins, judged segment by segment: text
//! before constrained parameter before parameter before catch-all.

mod constraint;
mod template;

pub use constraint::{Constraint, UnknownConstraint};
pub use template::{RouteError, RouteTemplate, RouteValues};
