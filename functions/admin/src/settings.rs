//! Settings: which there are and where they come from; never what a secret is.

use nightshift_settings::Reader;
use serde::Serialize;
use utoipa::ToSchema;

use crate::ask::{Answer, Ask, json};

/// A setting that this process has read.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Setting {
    /// Its name.
    name: String,
    /// `environment` or `default`.
    from: &'static str,
}

/// All settings.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Settings {
    /// By name.
    items: Vec<Setting>,
}

impl Settings {
    /// The settings that `reader` was asked for by now.
    pub fn of(reader: &Reader<'_>) -> Self {
        let used = reader.used().iter();
        let items = used.map(|(name, used)| Setting {
            name: name.clone(),
            from: if used.is_set {
                "environment"
            } else {
                "default"
            },
        });
        Self {
            items: items.collect(),
        }
    }
}

/// The settings that this process has read, and where they come from. Values are not shown.
#[utoipa::path(get, path = "/settings", tag = "settings", responses((status = 200, body = Settings)))]
pub(crate) async fn list(ask: &Ask<'_>) -> Answer {
    json(&ask.api.settings)
}
