//! The access token, and how another is got: by refreshing it, or else by logging in.
//!
//! The vendor refreshes without limit and lets nobody log in more than five times an hour, so a login is
//! the last resort, and its times are remembered. A token is renewed ahead of the end that it states
//! itself; one that states none is used until it is refused. One that had ended already when it came
//! (somebody's clock is wrong) is treated as one that states none.
//!
//! # Over a restart
//!
//! Nothing of this is kept on disk: a token in a file beside the archive would be a secret that is copied, shared and
//! kept for years with it. So a restart begins with what is configured:
//!
//! * the configured access token, and where that has ended, the configured refresh token. The vendor may replace a
//!   refresh token whenever it is used; where it takes the old one no longer (400, 401, 403), the login follows. Who
//!   configures no login must put a fresh refresh token into the configuration then: the source gives up and says so;
//! * the logins of the last hour are forgotten. A recorder that is started anew time and again may ask for more than
//!   five; the vendor's refusal (429) is waited out like any other failure.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::config::{DamoovConfig, Login};
use super::jwt;
use crate::clock::Now;
use crate::secret::Secret;
use crate::vendors::lifecycle::SECOND_NS;
use crate::vendors::{Call, Effect, HttpResponse, HttpSend};

/// The vendor's limit.
const LOGINS_MAX: usize = 5;
const LOGINS_WITHIN_NS: u64 = 3_600 * SECOND_NS;

/// How long before its end a token is renewed: enough for several attempts, and never more than a
/// tenth of the time that it has left.
const MARGIN_US: i64 = 300_000_000;

/// A wall clock that is set is noticed within this time.
const LOOK_AGAIN_NS: u64 = 3_600 * SECOND_NS;

/// Between two renewals of tokens that were not refused: a server that hands out tokens at their end must not make us spin.
const APART_NS: u64 = 10 * SECOND_NS;

/// After failures in a row, where the server does not ask for another time: 1 s, doubling to this.
const AGAIN_MAX_S: u64 = 60;

/// The longest `Retry-After` that is believed.
const RETRY_AFTER_MAX_S: u32 = 3_600;

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Refresh,
    Login,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Refresh => "refresh",
            Way::Login => "login",
        }
    }
}

/// What became of the wish for another token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// A request is on its way.
    UnderWay,
    /// Not before this time.
    Later { until_ns: u64, why: String },
    /// Nothing is configured that could give one, or what is was refused for good.
    Impossible,
}

/// What a response means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is a new token.
    Renewed { by: &'static str },
    /// The refresh was refused, and a login is on its way.
    Another,
    /// It may be tried again.
    Failed { reason: String },
    /// Trying again would not help.
    Hopeless { reason: String },
    /// The response to a request that nobody waits for.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Tokens {
    access: Option<Secret>,
    /// It was refused, and serves only to be refreshed.
    is_discarded: bool,
    /// Which one it is: 0 the configured one.
    generation: u32,
    /// What it says about its end, and when to renew it.
    ends: Option<Ends>,
    refresh_url: Option<String>,
    refresh: Option<Secret>,
    login: Option<Login>,
    under_way: Option<(Call, Way)>,
    next_call: Call,
    logins_ns: VecDeque<u64>,
    not_before_ns: u64,
    failures_in_a_row: u32,
    /// The last renewal of a token that had not been refused.
    unasked_ns: Option<u64>,
    refused: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    at_us: i64,
    renew_us: i64,
}

impl Tokens {
    pub(super) fn new(config: &DamoovConfig) -> Self {
        Self {
            access: config.access_token.clone(),
            is_discarded: false,
            generation: 0,
            ends: None,
            refresh_url: config.refresh_url.clone(),
            refresh: config.refresh_token.clone(),
            login: config.login.clone(),
            under_way: None,
            next_call: 0,
            logins_ns: VecDeque::new(),
            not_before_ns: 0,
            failures_in_a_row: 0,
            unasked_ns: None,
            refused: None,
        }
    }

    /// Begins with the configured token.
    pub(super) fn start(&mut self, now: Now) {
        self.ends = self.access.as_ref().and_then(|token| ends(now, token.expose()));
    }

    /// The token to show, and its generation; none where another must be got first. A token that seems
    /// to have ended is shown all the same where none can be got: the server's clock decides.
    pub(super) fn usable(&self, now: Now) -> Option<(&Secret, u32)> {
        let is_over = self.is_discarded || self.has_ended(now);
        let replaceable = self.way().is_some();
        self.access.as_ref().filter(|_| !(is_over && replaceable)).map(|token| (token, self.generation))
    }

    /// The token, whatever is known about it.
    pub(super) fn any(&self) -> Option<(&Secret, u32)> {
        self.access.as_ref().map(|token| (token, self.generation))
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether the token says that it has ended.
    pub(super) fn has_ended(&self, now: Now) -> bool {
        self.ends.is_some_and(|ends| ends.at_us <= now.wall_us)
    }

    /// The token was refused: it is not shown again, where another can be got. False where none can.
    pub(super) fn discard(&mut self, generation: u32) -> bool {
        if self.way().is_none() {
            return false;
        }
        // A connection of the token before this one says nothing about this one.
        if generation == self.generation {
            self.is_discarded = true;
        }
        true
    }

    /// When to look whether the token should be renewed; none where it cannot be, or states no end.
    pub(super) fn look_at(&self, now: Now) -> Option<u64> {
        let ends = self.ends.filter(|_| self.way().is_some())?;
        if self.under_way.is_some() {
            return None;
        }
        let left_ns = u64::try_from(ends.renew_us - now.wall_us).unwrap_or(0).saturating_mul(1_000);
        let due = now.steady_ns.saturating_add(left_ns.min(LOOK_AGAIN_NS));
        Some(due.max(self.unasked_ns.map_or(0, |at| at + APART_NS)))
    }

    /// Whether the time to renew the token has come.
    pub(super) fn is_due(&self, now: Now) -> bool {
        self.ends.is_some_and(|ends| ends.renew_us <= now.wall_us)
    }

    /// Asks for another token, unless that is under way.
    pub(super) fn renew(&mut self, now: Now, fx: &mut Vec<Effect>) -> Wish {
        if self.under_way.is_some() {
            return Wish::UnderWay;
        }
        let Some(way) = self.way() else { return Wish::Impossible };
        if now.steady_ns < self.not_before_ns {
            let until_ns = self.not_before_ns;
            return Wish::Later { until_ns, why: format!("waiting before the next {}", way.name()) };
        }
        let request = match way {
            Way::Refresh => self.refresh_request(),
            Way::Login => {
                if let Some(until_ns) = self.no_login_before(now) {
                    let why = format!("waiting before the next login: {LOGINS_MAX} an hour are allowed");
                    return Wish::Later { until_ns, why };
                }
                self.logins_ns.push_back(now.steady_ns);
                self.login_request()
            }
        };
        let Some((url, body)) = request else { return Wish::Impossible };
        if !self.is_discarded {
            self.unasked_ns = Some(now.steady_ns);
        }
        let call = self.next_call;
        self.next_call += 1;
        self.under_way = Some((call, way));
        let headers =
            vec![("content-type", "application/json".to_owned()), ("accept", "application/json".to_owned())];
        let request = HttpSend { method: "POST", url, headers, body, timeout: TIMEOUT };
        fx.push(Effect::Http { call, request });
        Wish::UnderWay
    }

    /// Which kind of request a call is, while it is under way: `refresh` or `login`.
    pub(super) fn way_of(&self, call: Call) -> Option<&'static str> {
        self.under_way.filter(|(known, _)| *known == call).map(|(_, way)| way.name())
    }

    /// Takes a response.
    pub(super) fn response(
        &mut self,
        now: Now,
        call: Call,
        result: Result<HttpResponse, String>,
        fx: &mut Vec<Effect>,
    ) -> Outcome {
        let Some((_, way)) = self.under_way.take_if(|(known, _)| *known == call) else {
            return Outcome::Unknown;
        };
        let response = match result {
            Ok(response) => response,
            Err(reason) => return self.failed(now, None, format!("{}: {reason}", way.name())),
        };
        let reply: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        // A refusal may stand in the body of a 200.
        let status = match member(&reply, "status").and_then(Value::as_u64) {
            Some(status @ 400..=599) if response.status < 300 => status,
            _ => u64::from(response.status),
        };
        match (status, access_token(&reply)) {
            (200..=299, Some(token)) => {
                fx.push(Effect::Secret(Secret::new(token)));
                self.access = Some(Secret::new(token));
                self.is_discarded = false;
                self.failures_in_a_row = 0;
                self.generation = self.generation.wrapping_add(1);
                self.ends = ends(now, token).filter(|ends| ends.at_us > now.wall_us);
                if let Some(token) = refresh_token(&reply) {
                    fx.push(Effect::Secret(Secret::new(token)));
                    self.refresh = Some(Secret::new(token));
                }
                Outcome::Renewed { by: way.name() }
            }
            (200..=299, None) => self.failed(now, None, format!("the {}'s reply holds no token", way.name())),
            (400 | 401 | 403, _) => {
                let reason = format!("{} refused with status {status}", way.name());
                match way {
                    Way::Refresh => self.refresh = None,
                    Way::Login => self.login = None,
                }
                let next = self.renew(now, fx);
                self.refused = Some(reason.clone());
                match next {
                    Wish::Impossible => Outcome::Hopeless { reason },
                    Wish::UnderWay => Outcome::Another,
                    Wish::Later { .. } => Outcome::Failed { reason },
                }
            }
            _ => {
                let reason = format!("{} answered with status {status}", way.name());
                self.failed(now, response.retry_after_s, reason)
            }
        }
    }

    /// The earliest time at which another token can be had.
    pub(super) fn not_before(&self, now: Now) -> u64 {
        let login = match self.way() {
            Some(Way::Login) => self.no_login_before(now).unwrap_or(0),
            _ => 0,
        };
        login.max(self.not_before_ns)
    }

    /// What to tell whoever must put things right.
    pub(super) fn advice(&self) -> String {
        match &self.refused {
            Some(refused) => format!("{refused}: configure fresh credentials"),
            None => "configure a fresh access_token, and for the future refresh_token or login".to_owned(),
        }
    }

    /// `text` without any of the tokens and passwords, should a server have put one into its words.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let secrets = [&self.access, &self.refresh].into_iter().flatten();
        let secrets = secrets.chain(self.login.as_ref().map(|login| &login.password));
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "…"))
    }

    fn way(&self) -> Option<Way> {
        match (&self.refresh, &self.refresh_url, &self.login) {
            (Some(_), Some(_), _) => Some(Way::Refresh),
            (_, _, Some(_)) => Some(Way::Login),
            _ => None,
        }
    }

    fn failed(&mut self, now: Now, retry_after_s: Option<u32>, reason: String) -> Outcome {
        let asked = retry_after_s.map(|seconds| u64::from(seconds.min(RETRY_AFTER_MAX_S)) * SECOND_NS);
        let own = SECOND_NS * AGAIN_MAX_S.min(1 << self.failures_in_a_row.min(6));
        self.failures_in_a_row += 1;
        self.not_before_ns = now.steady_ns.saturating_add(asked.unwrap_or(own));
        Outcome::Failed { reason }
    }

    /// When the next login is allowed, if not now.
    fn no_login_before(&self, now: Now) -> Option<u64> {
        let oldest = self.logins_ns.len().checked_sub(LOGINS_MAX)?;
        let until_ns = self.logins_ns[oldest].saturating_add(LOGINS_WITHIN_NS);
        (until_ns > now.steady_ns).then_some(until_ns)
    }

    fn refresh_request(&self) -> Option<(String, Bytes)> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Body<'a> {
            access_token: &'a str,
            refresh_token: &'a str,
        }
        let access_token = self.access.as_ref().map_or("", Secret::expose);
        let body = Body { access_token, refresh_token: self.refresh.as_ref()?.expose() };
        Some((self.refresh_url.clone()?, serde_json::to_vec(&body).ok()?.into()))
    }

    fn login_request(&mut self) -> Option<(String, Bytes)> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Body<'a> {
            /// JSON in a string, as the vendor has it.
            login_fields: String,
            password: &'a str,
        }
        // Of the older ones nobody asks.
        while self.logins_ns.len() > LOGINS_MAX {
            self.logins_ns.pop_front();
        }
        let login = self.login.as_ref()?;
        let login_fields = json!({"email": login.email}).to_string();
        let body = Body { login_fields, password: login.password.expose() };
        Some((login.url.clone(), serde_json::to_vec(&body).ok()?.into()))
    }
}

fn ends(now: Now, token: &str) -> Option<Ends> {
    let at_us = jwt::expires_us(token)?;
    let margin_us = MARGIN_US.min((at_us - now.wall_us).max(0) / 10);
    Some(Ends { at_us, renew_us: at_us - margin_us })
}

/// `Result.AccessToken.Token`, with any of the outer two left out.
fn access_token(reply: &Value) -> Option<&str> {
    let token = token_member(reply, "accesstoken")?;
    token.as_str().or_else(|| member(token, "token")?.as_str()).filter(|token| !token.is_empty())
}

fn refresh_token(reply: &Value) -> Option<&str> {
    let token = token_member(reply, "refreshtoken")?;
    token.as_str().or_else(|| member(token, "token")?.as_str()).filter(|token| !token.is_empty())
}

fn token_member<'a>(reply: &'a Value, name: &str) -> Option<&'a Value> {
    member(reply, "result").and_then(|result| member(result, name)).or_else(|| member(reply, name))
}

/// A member whose name is `name` apart from case and underscores.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let same =
        |key: &str| key.bytes().filter(|b| *b != b'_').map(|b| b.to_ascii_lowercase()).eq(name.bytes());
    value.as_object()?.iter().find(|(key, _)| same(key)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests;
