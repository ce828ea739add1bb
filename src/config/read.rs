//! The tables of the configuration, key by key.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use super::memory;
use super::{
    ArchiveConfig, Config, Console, DEFAULT_CONSOLE_LISTEN, DEFAULT_WEBHOOKS_LISTEN, Limits, TlsFiles,
    VENDORS, Webhooks,
};
use crate::message::COMMON_KINDS;
use crate::section::values::{
    any_text, duration, duration_or_never, existing_file, flag, is_loopback, listen, names, one_of, path,
    secret, size_from, text,
};
use crate::section::{Item, Section, nearest};
use crate::units::human_size;
use crate::vendors::{
    self, Source, TlsOptions, VendorConfig, damoov, delicode, generic, jointech, pontosense, sensoro,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Names of sources become folder-safe values in columns, topics and URLs.
const SOURCE_NAME_MAX_CHARS: usize = 64;

pub(super) fn config(root: &Section<'_>) -> Option<Config> {
    let archive = root.header("archive", archive);
    let webhooks = root.header("webhooks", webhooks);
    let console = root.header("console", |section| {
        let console = console(section)?;
        let taken = webhooks.as_ref().is_some_and(|w| w.listen == console.listen);
        if taken && !console.listen.ends_with(":0") {
            section.wrong("listen", "expected another address than that of [webhooks]");
        }
        Some(console)
    });
    let site = archive.as_ref().map_or("", |archive| archive.site.as_str());
    let rolls = archive.as_ref().is_none_or(|archive| archive.session_roll.is_some());
    let others = Others { rolls, ..Others::default() };
    let sources = root.headers("source", |section| source(section, site, &others));
    let limits = root.header("limits", |section| {
        let limits = limits(section)?;
        let (sources, max_body) = (sources.as_deref()?, webhooks.as_ref()?.max_body);
        // Of what nobody pushes, a message is as long as the rest has room for.
        let is_pushed = sources.iter().any(|source| source.vendor.webhook_path().is_some());
        let needed = memory::needed(sources, if is_pushed { max_body } else { 0 });
        if limits.memory < needed {
            let connections: usize = sources.iter().map(|source| source.vendor.connections()).sum();
            let bodies = match is_pushed {
                true => format!(", and bodies of up to {} (max_body in [webhooks]),", human_size(max_body)),
                false => String::new(),
            };
            section.wrong(
                "memory",
                format!(
                    "{} sources with {connections} connections{bodies} need at least `{}MiB`",
                    sources.len(),
                    needed.div_ceil(1 << 20)
                ),
            );
        }
        Some(limits)
    });
    Some(Config {
        archive: archive?,
        limits: limits?,
        webhooks: webhooks?,
        console: console?,
        sources: sources?,
    })
}

/// Upkeep is of sessions that have ended.
fn needs_roll(section: &Section<'_>, key: &'static str) {
    if section.has(key) {
        section.wrong(
            key,
            "with `session_roll = \"never\"` there is no session that this could be done to: set `session_roll`",
        );
    }
}

/// Of `[archive]`, only where it lies.
pub(super) fn archive_path(section: &Section<'_>) -> Option<PathBuf> {
    let found = section.get_or("path", path, section.resolve("archive"));
    section.ignore_rest();
    found
}

/// Of `[archive]`, only who may read it.
pub(super) fn group_readable(section: &Section<'_>) -> Option<bool> {
    let found = section.get_or("group_readable", flag, false);
    section.ignore_rest();
    found
}

fn archive(section: &Section<'_>) -> Option<ArchiveConfig> {
    let path = section.get_or("path", path, section.resolve("archive"));
    let site = section.get_or("site", any_text, "");
    let sync_interval = section.get_or("sync_interval", duration, Duration::from_millis(50));
    let segment_max_bytes = section.get_or("segment_max_bytes", size_from(KIB, "1KiB"), 128 * MIB);
    let segment_max_age = section.get_or("segment_max_age", duration, Duration::from_secs(3_600));
    let session_roll = section.get_or("session_roll", duration_or_never, Duration::from_secs(86_400));
    let min_free_disk = section.get_or("min_free_disk", size_from(0, "0B"), GIB);
    let retain = optional(section, "retain", duration);
    let retain_max_bytes = optional(section, "retain_max_bytes", size_from(MIB, "1MiB"));
    let compact = optional(section, "compact", one_of(&["daily"]));
    if session_roll == Some(None) {
        for key in ["retain", "retain_max_bytes", "compact"] {
            needs_roll(section, key);
        }
    }
    let group_readable = section.get_or("group_readable", flag, false);
    Some(ArchiveConfig {
        path: path?,
        site: site?,
        sync_interval: sync_interval?,
        segment_max_bytes: segment_max_bytes?,
        segment_max_age: segment_max_age?,
        session_roll: session_roll?,
        min_free_disk: min_free_disk?,
        retain: retain?,
        retain_max_bytes: retain_max_bytes?,
        compact_daily: compact?.is_some(),
        group_readable: group_readable?,
    })
}

fn limits(section: &Section<'_>) -> Option<Limits> {
    let memory = section.get_or("memory", size_from(memory::LEAST_BYTES, "64MiB"), 256 * MIB);
    Some(Limits { memory: memory? })
}

pub(super) fn webhooks(section: &Section<'_>) -> Option<Webhooks> {
    let listen = section.get_or("listen", listen, DEFAULT_WEBHOOKS_LISTEN);
    let max_body = section.get_or("max_body", size_from(KIB, "1KiB"), MIB);
    let tls = optional(section, "tls", tls_files);
    Some(Webhooks { listen: listen?, max_body: max_body?, tls: tls? })
}

pub(super) fn console(section: &Section<'_>) -> Option<Console> {
    let listen = section.get_or("listen", listen, DEFAULT_CONSOLE_LISTEN);
    let tls = optional(section, "tls", tls_files);
    let token = optional(section, "token", secret);
    let listen = listen?;
    if !is_loopback(&listen) && !section.has("token") {
        section.wrong("listen", "beyond loopback a `token` is required: add one, or listen on 127.0.0.1");
    }
    Some(Console { listen, tls: tls?, token: token? })
}

fn tls_files(item: &Item<'_>) -> Option<TlsFiles> {
    const EXPECTED: &str = "expected { cert = \"chain.pem\", key = \"key.pem\" }";
    let read = item.table(|section| {
        let cert = section.need("cert", "the certificate chain, a PEM file", existing_file);
        let key = section.need("key", "the private key, a PEM file", existing_file);
        Some(TlsFiles { cert: cert?, key: key? })
    });
    read.unwrap_or_else(|| item.expected(EXPECTED))
}

/// What sources must not share, as far as they were read.
#[derive(Default)]
struct Others {
    /// Sessions end while it records.
    rolls: bool,
    names: RefCell<Vec<String>>,
    /// Webhook path, and the source's name.
    paths: RefCell<Vec<(String, String)>>,
    /// Broker, client id, and the source's name.
    clients: RefCell<Vec<(String, String, String)>>,
}

fn source(section: &Section<'_>, site: &str, others: &Others) -> Option<Source> {
    let name = section.need("name", "a name for this source, such as \"shop\"", source_name);
    let label = name.clone().unwrap_or_default();
    if name.is_some() && others.names.borrow().contains(&label) {
        section.wrong("name", format!("another source is called {label:?} already"));
    }
    others.names.borrow_mut().push(label.clone());

    let vendor = section.need("vendor", &format!("one of {}", VENDORS.join(", ")), text);
    let client_id = default_client_id(site, &label);
    let vendor = match vendor {
        Some(vendor) => vendor_config(section, &vendor, &client_id),
        None => {
            section.ignore_rest();
            None
        }
    };
    let kinds = vendor.as_ref().map(|(_, kinds)| kinds.as_slice());

    let tls = if vendor.as_ref().is_some_and(|(vendor, _)| vendor.webhook_path().is_none()) {
        tls_options(section)
    } else {
        Some(TlsOptions::default())
    };
    let stall_after = optional(section, "stall_after", duration);
    let exclude_kinds = section.get_or("exclude_kinds", |item| known_kinds(item, kinds), Vec::new());
    let redact_query = section.get_or("redact_query", names, Vec::new());
    let redact_headers = section.get_or("redact_headers", names, Vec::new());
    let retain = optional(section, "retain", duration);
    if !others.rolls {
        needs_roll(section, "retain");
    }

    let (vendor, _) = vendor?;
    others.check(section, &label, &vendor);
    Some(Source {
        name: name?,
        vendor,
        tls: tls?,
        stall_after: stall_after?,
        exclude_kinds: exclude_kinds?,
        redact_query: redact_query?,
        redact_headers: redact_headers?.iter().map(|name| name.to_ascii_lowercase()).collect(),
        retain: retain?,
    })
}

/// The vendor's part of a source, and the names of the kinds it has of its own.
fn vendor_config(
    section: &Section<'_>,
    vendor: &str,
    client_id: &str,
) -> Option<(VendorConfig, Vec<String>)> {
    let own = || vendors::kinds(vendor).unwrap_or_default().iter().map(|kind| (*kind).to_owned()).collect();
    match vendor {
        "damoov" => {
            let config = damoov::config::read(section)?;
            Some((VendorConfig::Damoov(config), own()))
        }
        "delicode" => {
            let config = delicode::config::read(section)?;
            Some((VendorConfig::Delicode(config), own()))
        }
        "jointech" => {
            let config = jointech::config::read(section, client_id)?;
            Some((VendorConfig::Jointech(config), own()))
        }
        "pontosense" => {
            let config = pontosense::config::read(section)?;
            Some((VendorConfig::Pontosense(config), own()))
        }
        "sensoro" => {
            let config = sensoro::config::read(section)?;
            Some((VendorConfig::Sensoro(config), own()))
        }
        "generic" => {
            let (config, kinds) = generic::config::read(section, client_id)?;
            Some((VendorConfig::Generic(config), kinds))
        }
        _ => {
            let near = nearest(vendor, VENDORS);
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let available = VENDORS.join(", ");
            let wrong = format!("unknown vendor `{vendor}`, available: {available}{near}");
            section.wrong("vendor", wrong);
            section.ignore_rest();
            None
        }
    }
}

/// Whether a source may be called so.
pub fn is_source_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    // `.` and `..` would be folders where the name becomes part of a path; so would an empty one.
    plain && name.len() <= SOURCE_NAME_MAX_CHARS && !name.bytes().all(|b| b == b'.')
}

fn source_name(item: &Item<'_>) -> Option<String> {
    let name = text(item)?;
    if is_source_name(&name) {
        Some(name)
    } else {
        item.expected("expected 1 to 64 letters, digits, `_`, `.` or `-`")
    }
}

fn tls_options(section: &Section<'_>) -> Option<TlsOptions> {
    let ca = optional(section, "tls_ca", existing_file);
    let insecure = section.get_or("tls_insecure", flag, false);
    if section.has("tls_ca") && insecure == Some(true) {
        section.wrong(
            "tls_insecure",
            "expected either `tls_ca` or `tls_insecure`: without checking, no CA is used",
        );
    }
    Some(TlsOptions { ca: ca?, insecure: insecure? })
}

fn known_kinds(item: &Item<'_>, kinds: Option<&[String]>) -> Option<Vec<String>> {
    let wanted = names(item)?;
    // A source whose vendor is not known has kinds that are not known.
    let Some(kinds) = kinds else { return Some(wanted) };
    let known = || kinds.iter().map(String::as_str).chain(COMMON_KINDS);
    for kind in &wanted {
        if !known().any(|k| k == kind) {
            let known = known().collect::<Vec<_>>().join(", ");
            return item.wrong(format!("no kind {kind:?} here; the kinds are {known}"));
        }
    }
    Some(wanted)
}

impl Others {
    /// Notes what `vendor` has in common with a source before it, and must not.
    fn check(&self, section: &Section<'_>, name: &str, vendor: &VendorConfig) {
        if let Some(path) = vendor.webhook_path() {
            let mut paths = self.paths.borrow_mut();
            if let Some((other_path, other)) = paths.iter().find(|(other, _)| overlap(other, path)) {
                let what = format!(
                    "{path:?} collides with {other_path:?} of source {other:?}: a source takes its path and everything below it"
                );
                section.wrong("path", what);
            }
            paths.push((path.to_owned(), name.to_owned()));
        }
        if let Some((url, client_id)) = vendor.mqtt_client() {
            let mut clients = self.clients.borrow_mut();
            if let Some((_, _, other)) = clients.iter().find(|(u, c, _)| u == url && c == client_id) {
                let what = format!(
                    "source {other:?} uses {client_id:?} at the same broker, which would disconnect one of them"
                );
                section.wrong("client_id", what);
            }
            clients.push((url.to_owned(), client_id.to_owned(), name.to_owned()));
        }
    }
}

/// Whether a request could belong to both paths: one is the other, or above it.
fn overlap(a: &str, b: &str) -> bool {
    let below = |upper: &str, lower: &str| {
        upper == "/" || lower.strip_prefix(upper).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(a, b) || below(b, a)
}

/// The same at every start, so that a broker keeps the session, and another for every site and source.
fn default_client_id(site: &str, source: &str) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let place = if site.is_empty() { host.as_str() } else { site };
    let place: String =
        place.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    format!("telereel-{place}-{source}")
}

/// `Some(None)` where the key is missing, none where it is wrong.
fn optional<T>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&Item<'_>) -> Option<T>,
) -> Option<Option<T>> {
    section.get_or(key, |item| parse(item).map(Some), None)
}
