//! What a replay serves, where and to whom: from arguments, configuration and recording.

use std::collections::HashMap;

use bytestring::ByteString;

use super::super::context::Context;
use super::super::selection::Chosen;
use super::{search, serves_by_default, state_folder, targets};
use crate::archive::{Archive, ScanOptions, scan};
use crate::cli::Replay;
use crate::clock::Clock;
use crate::config::{Config, TlsFiles};
use crate::console::replay::api;
use crate::message::{Row, Selection, SourceHeader};
use crate::player::endpoints::Access;
use crate::player::{BindOptions, Listen};
use crate::transport::tls::Trust;
use crate::vendors::generic::config::{GenericConfig, GenericTransport};
use crate::vendors::jointech::config::JointechConfig;
use crate::vendors::{Credential, DeviceConfig, Recorded, Source, VendorConfig};

pub(super) fn bind_options(
    context: &Context,
    archive: &Archive,
    chosen: &Chosen,
    first: &Row,
    args: &Replay,
) -> anyhow::Result<BindOptions> {
    let access = match (args.require_credentials, args.allow_any_credentials) {
        (true, _) => Access::Required,
        (false, true) => Access::Any,
        (false, false) => Access::LoopbackOnly,
    };
    let credentials = if args.require_credentials { credentials(&context.config()?) } else { Vec::new() };
    // Asked for beyond loopback alone, where one of these is needed in any case.
    let token = match access {
        Access::LoopbackOnly => None,
        Access::Required | Access::Any => context.console()?.token,
    };
    let sources = recorded_sources(archive, chosen)?;
    Ok(BindOptions {
        listen: if serves_by_default(args) { Listen::defaults() } else { args.listen.clone() },
        tls: args.tls_cert.clone().zip(args.tls_key.clone()).map(|(cert, key)| TlsFiles { cert, key }),
        self_signed_dir: state_folder()?.join("tls"),
        access,
        pushes: targets::pushes(context, &sources, &args.push, &args.variant)?,
        publishes: args.publish.clone(),
        trust: match &args.tls_ca {
            _ if args.tls_insecure => Trust::Anybody,
            Some(ca) => Trust::Authority(ca.clone()),
            None => Trust::System,
        },
        recorded: Recorded {
            sources,
            any_credentials: false,
            credentials,
            device_configs: device_configs(archive, chosen, first)?,
            variants: args.variant.clone(),
        },
        trace: args.trace.clone(),
        misbehaviour: None,
        api: Some(api(token, search::find(archive, chosen, args))),
        clock: Clock::System,
    })
}

/// The sources of the sessions that are replayed, as the recorder had set them up.
fn recorded_sources(archive: &Archive, chosen: &Chosen) -> anyhow::Result<Vec<SourceHeader>> {
    let mut sources: Vec<SourceHeader> = Vec::new();
    for session in &chosen.sessions {
        let sidecar = archive.read_sidecar(session.session_id)?;
        for source in sidecar.into_iter().flat_map(|sidecar| sidecar.sources) {
            let header = SourceHeader::from(source);
            if !sources.contains(&header) {
                sources.push(header);
            }
        }
    }
    Ok(sources)
}

/// What a token reply is to say about each sensor: the last that was recorded before the replay's first
/// message, else the first after it.
fn device_configs(archive: &Archive, chosen: &Chosen, first: &Row) -> anyhow::Result<Vec<DeviceConfig>> {
    let selection = Selection {
        vendors: vec!["pontosense".to_owned()],
        kinds: vec!["config".to_owned()],
        ..Selection::default()
    };
    let everywhere = ScanOptions {
        sessions: chosen.options.sessions.clone(),
        selection,
        skipped: chosen.options.skipped.clone(),
        ..Default::default()
    };
    let mut latest: HashMap<ByteString, Row> = HashMap::new();
    for row in scan(archive, &everywhere)? {
        let row = row?;
        let Some(device_id) = row.device_id.clone() else { continue };
        if row.received_at_us <= first.received_at_us || !latest.contains_key(&device_id) {
            latest.insert(device_id, row);
        }
    }
    let config = |(device_id, row): (ByteString, Row)| DeviceConfig {
        vendor: row.vendor.to_string(),
        device_id: device_id.to_string(),
        payload: row.payload,
    };
    Ok(latest.into_iter().map(config).collect())
}

/// What clients must show, where credentials are required: what the recorder itself showed.
fn credentials(config: &Config) -> Vec<Credential> {
    let credential = |source: &Source| {
        let (username, secret) = match &source.vendor {
            VendorConfig::Damoov(damoov) => (None, damoov.access_token.as_ref()?),
            VendorConfig::Delicode(delicode) => (None, &delicode.token),
            VendorConfig::Jointech(JointechConfig::Mqtt(mqtt)) => {
                (Some(mqtt.username.clone()), &mqtt.password_md5)
            }
            VendorConfig::Pontosense(pontosense) => (Some(pontosense.api_key.clone()), &pontosense.secret),
            VendorConfig::Generic(GenericConfig {
                transport: GenericTransport::Mqtt { username: Some(username), password: Some(password), .. },
                ..
            }) => (Some(username.clone()), password),
            _ => return None,
        };
        Some(Credential {
            source: source.name.clone(),
            vendor: source.vendor.vendor().to_owned(),
            username,
            secret: secret.expose().to_owned(),
        })
    };
    config.sources.iter().filter_map(credential).collect()
}
