//! The configuration of a `damoov` source.

use url::Url;

use crate::secret::Secret;
use crate::section::values::{one_of, secret, text, url};
use crate::section::{Item, Section};

/// The vendor's addresses, used where none are configured.
pub const DEFAULT_URL: &str = "wss://portal-apis.telematicssdk.com/realtime/api/v1/ws/realtime";
pub const DEFAULT_LOGIN_URL: &str = "https://user.telematicssdk.com/v1/Auth/Login";
pub const DEFAULT_REFRESH_URL: &str = "https://user.telematicssdk.com/v1/Auth/RefreshToken";

#[derive(Clone, Debug, PartialEq)]
pub struct DamoovConfig {
    pub url: String,
    pub instance_id: String,
    /// None only where there is a `login`.
    pub access_token: Option<Secret>,
    /// One device in place of the whole instance.
    pub device_token: Option<String>,
    pub client_id: Option<String>,
    pub units: Option<String>,
    pub timezone: Option<String>,
    pub date_format: Option<String>,
    /// None only where no token can be refreshed.
    pub refresh_url: Option<String>,
    pub refresh_token: Option<Secret>,
    pub login: Option<Login>,
}

/// How to get tokens from nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    pub url: String,
    pub email: String,
    pub password: Secret,
}

/// Reads the keys of a source that are this vendor's.
pub fn read(section: &Section<'_>) -> Option<DamoovConfig> {
    let address = section.get_or("url", url(&["wss", "ws"]), DEFAULT_URL);
    let login = section.get_or("login", |item| login(item).map(Some), None);
    let access_token = if section.has("login") {
        optional(section, "access_token", secret)
    } else {
        section.need("access_token", "a JWT, or a `login`", secret).map(Some)
    };
    let instance_id = section.need("instance_id", "the id of the instance, a UUID", text);
    let device_token = optional(section, "device_token", text);
    let client_id = optional(section, "client_id", text);
    let units = optional(section, "units", one_of(&["metric", "imperial"]));
    let timezone = optional(section, "timezone", text);
    // The stream's page says `localized`, that of the REST interface `human`.
    let date_format = optional(section, "date_format", one_of(&["unix", "iso", "localized", "human"]));
    let refresh_url = optional(section, "refresh_url", url(&["https", "http"]));
    let refresh_token = optional(section, "refresh_token", secret);
    if section.has("refresh_url") && !section.has("refresh_token") && !section.has("login") {
        section.wrong("refresh_url", "expected a `refresh_token` too, or a `login` that gives one");
    }

    let (login, refresh_token) = (login?, refresh_token?);
    let refresh_url = refresh_url?.or_else(|| default_refresh_url(login.as_ref(), refresh_token.is_some()));
    Some(DamoovConfig {
        url: address?,
        instance_id: instance_id?,
        access_token: access_token?,
        device_token: device_token?,
        client_id: client_id?,
        units: units?.map(str::to_owned),
        timezone: timezone?,
        date_format: date_format?.map(str::to_owned),
        refresh_url,
        refresh_token,
        login,
    })
}

/// Beside the login, so that no token is shown to another host than the one that gave it.
fn default_refresh_url(login: Option<&Login>, has_token: bool) -> Option<String> {
    match login {
        Some(login) => Url::parse(&login.url).ok()?.join("RefreshToken").ok().map(String::from),
        None => has_token.then(|| DEFAULT_REFRESH_URL.to_owned()),
    }
}

fn login(item: &Item<'_>) -> Option<Login> {
    let read = item.table(|login| {
        let url = login.get_or("url", url(&["https", "http"]), DEFAULT_LOGIN_URL);
        let email = login.need("email", "the address to log in with", text);
        let password = login.need("password", "the password to log in with", secret);
        Some(Login { url: url?, email: email?, password: password? })
    });
    read.unwrap_or_else(|| item.expected_secret("expected { url = \"…\", email = \"…\", password = … }"))
}

/// `Some(None)` where the key is missing, none where it is wrong.
fn optional<T>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&Item<'_>) -> Option<T>,
) -> Option<Option<T>> {
    section.get_or(key, |item| parse(item).map(Some), None)
}
