//! What the checkout knows of a function.

use anyhow::{Context, bail};
use nightshift_bindings::function_json::Binding;

use crate::checkout::Checkout;
use crate::checkout::doors::{Door, doors};

/// A function of the checkout.
#[derive(Debug)]
pub(super) struct Known {
    checkout: Checkout,
    door: Door,
}

impl Known {
    pub(super) fn find(checkout: &Checkout, name: &str) -> Option<Self> {
        let mut doors = doors(checkout).into_iter();
        let door = doors.find(|door| door.name.eq_ignore_ascii_case(name))?;
        let checkout = checkout.clone();
        Some(Self { checkout, door })
    }

    /// The sample `name`, or the one without a name.
    pub(super) fn sample(&self, name: &str) -> anyhow::Result<String> {
        if name.contains(['/', '\\']) {
            bail!("{name:?} is no name of a sample");
        }
        let file = match name {
            "" | "default" => "sample.json".to_owned(),
            name => format!("{name}.sample.json"),
        };
        let file = self.door.file.replace("function.json", &file);
        let text = self.checkout.text(&file);
        text.with_context(|| format!("there is no sample {file}; use --data"))
    }

    pub(super) fn is_timer(&self) -> bool {
        matches!(self.door.trigger(), Some(Binding::TimerTrigger(_)))
    }

    fn methods(&self) -> &[String] {
        match self.door.trigger() {
            Some(Binding::HttpTrigger(trigger)) => &trigger.methods,
            _ => &[],
        }
    }
}

/// The method to call a function with: one that it takes, and that suits what there is to send.
pub(super) fn method(known: Option<&Known>, has_data: bool) -> String {
    let methods = known.map(Known::methods).unwrap_or_default();
    let wanted = if has_data { "POST" } else { "GET" };
    let takes = methods.is_empty() || methods.iter().any(|method| method == wanted);
    match methods.first() {
        Some(first) if !takes => first.clone(),
        _ => wanted.to_owned(),
    }
}

/// The path of `template` with its parameters filled in. Optional ones may be missing.
pub(super) fn filled(template: &str, values: &[(String, String)]) -> anyhow::Result<String> {
    let mut path = String::new();
    let mut used = Vec::new();
    let mut rest = template;
    while let Some((text, tail)) = rest.split_once('{') {
        let (parameter, tail) = tail
            .split_once('}')
            .context("the route has an open bracket")?;
        path.push_str(text);
        rest = tail;
        let is_rest = parameter.starts_with('*');
        let name = parameter.trim_start_matches('*');
        let end = name.find([':', '=', '?']).unwrap_or(name.len());
        let (name, suffix) = name.split_at(end);
        let is_optional = is_rest || suffix.ends_with('?') || suffix.contains('=');
        let value = values
            .iter()
            .find(|(given, _)| given.eq_ignore_ascii_case(name));
        match value {
            Some((_, value)) if is_rest => path.push_str(value),
            Some((_, value)) => path.push_str(&super::encoded(value)),
            None if is_optional => {}
            None => bail!("the route {template} needs a value: --param {name}=…"),
        }
        used.push(name.to_lowercase());
    }
    path.push_str(rest);
    if let Some((name, _)) = values
        .iter()
        .find(|(name, _)| !used.contains(&name.to_lowercase()))
    {
        bail!("the route {template} has no parameter {name}");
    }
    Ok(path.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_filled_in() {
        let values = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let pairs = pairs.iter();
            pairs
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        let with = values(&[("id", "a b"), ("rest", "x/y")]);
        assert_eq!(
            filled("api/{id:int}/{*rest}", &with).unwrap(),
            "api/a%20b/x/y"
        );
        assert_eq!(filled("api/o/{key?}", &[]).unwrap(), "api/o");
        assert_eq!(filled("api/ops/{*path}", &[]).unwrap(), "api/ops");
        let missing = filled("api/{id}", &[]).unwrap_err().to_string();
        assert!(missing.ends_with("--param id=…"), "{missing}");
        assert!(filled("api", &values(&[("id", "1")])).is_err());
    }

    #[test]
    fn the_method_suits_what_is_sent() {
        assert_eq!(method(None, true), "POST");
        assert_eq!(method(None, false), "GET");
    }
}
