//! The upstreams of a snapshot, and how their endpoints are spoken to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::Upstreams;
use super::super::failure::{BuildError, refused};
use super::super::tls::key_logging;
use super::{Ingredients, own_zone};
use crate::config;
use crate::tls::{Client, ClientSettings};
use crate::upstream::Upstream;

/// Builds every upstream.
pub(super) fn build_upstreams(
    ingredients: &mut Ingredients<'_>,
    written: &BTreeMap<String, config::Upstream>,
) -> Result<Upstreams, BuildError> {
    let own_zone = own_zone(&ingredients.config).to_owned();
    let mut upstreams = BTreeMap::new();
    for (name, upstream) in written {
        let endpoints = ingredients.endpoints.remove(name).unwrap_or_default();
        let previous = ingredients
            .previous
            .and_then(|world| world.upstreams.get(name.as_str()));
        let tls = client(name, upstream, ingredients, previous)?;
        let built = Upstream::build(
            name,
            upstream,
            (endpoints, tls),
            &own_zone,
            ingredients.world,
            previous,
        )
        .map_err(|error| refused(name, &error.to_string()))?;
        upstreams.insert(Arc::from(name.as_str()), built);
    }
    Ok(upstreams)
}

/// How the endpoints of an upstream are spoken to in TLS, if they are.
fn client(
    name: &str,
    written: &config::Upstream,
    ingredients: &Ingredients<'_>,
    previous: Option<&Arc<Upstream>>,
) -> Result<Option<Arc<Client>>, BuildError> {
    let protocol = written.protocol.unwrap_or_default();
    let Some(written) = &written.tls else {
        return Ok(None);
    };
    let Some(material) = ingredients.materials.get(name) else {
        return Err(refused(name, "what its TLS needs was not read"));
    };
    let settings = ClientSettings::new(written, protocol, key_logging(&ingredients.config.log));
    let settings = settings.map_err(|error| refused(name, &error.to_string()))?;
    let before = previous.and_then(|upstream| upstream.tls());
    let client = Client::new(settings, material, before);
    client
        .map(Some)
        .map_err(|error| refused(name, &error.to_string()))
}
