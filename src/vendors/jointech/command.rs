//! Commands to devices, and what a device answers: bare ASCII down, JSON up.
//!
//! ```text
//! download/{accessKey}/794308010642/cmd   (794308010642,1,001,BASE,2)
//! upload/{accessKey}/794308010642/cmd     {"assetId":"794308010642","commandType":"BASE2",
//!                                          "content":"[\"794308010642\",\"8\",\"001\",\"BASE\",\"2\",\"20240501080000\"]","dateTime":"…"}
//! ```
//!
//! Source: the vendor's page "MQTT service". The short form without the device's id, `(P43,888888)`, is that of
//! the JT701 ("JT701D Protocol Manual V1.4"); its answers on this interface are not documented, and follow the
//! manual's own.

use chrono::{DateTime, SecondsFormat};
use serde_json::json;

/// Longer ones are no commands: those of the manual have a few dozen characters.
const COMMAND_BYTES_MAX: usize = 1_024;

/// The second field of an answer. A command has `1` there; both of the vendor's examples are answered with `8`.
const UPLINK: &str = "8";

/// What `commandType` says where the platform answers in the device's place.
const BY_PLATFORM: &str = "MQTT_CMD";

/// The platform's words end in the full-width exclamation mark, U+FF01.
const NOT_ONLINE: &str = "Device not online\u{FF01}";
const NOT_REGISTERED: &str = "Device has not been registered\u{FF01}";

/// In a row of [`REPLIES`]: the device's clock, `yyyyMMddHHmmss` in UTC.
const CLOCK: &str = "{clock}";

/// What devices answer, by command word and sub-number; a short command has no sub-number. A word that is not
/// here is answered without values.
const REPLIES: &[(&str, &str, &[&str])] = &[
    (
        "BASE",
        "1",
        &[
            // Firmware, 0, maker, the modem's firmware, ICCID, IMEI.
            "JT709A_20230912_V103",
            "0",
            "Jointech",
            "EC800MCNLAR06A05M04",
            "89860000000000000000",
            "860000000000000",
            // MCC, MNC, and then CID before LAC, other than in `cells`.
            "460",
            "0",
            "26123",
            "9350",
        ],
    ),
    ("BASE", "2", &[CLOCK]),
    ("P43", "", &["1", "0"]),
];

/// How the platform stands with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Online,
    Offline,
    Unknown,
}

/// A command that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Command<'a> {
    /// The third field, which is said back; none in the short form.
    serial: Option<&'a str>,
    word: &'a str,
    number: &'a str,
}

/// Why a payload is not a command to `device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotACommand {
    #[error("expected ASCII text in parentheses, as in (794308010642,1,001,BASE,2)")]
    Form,
    #[error("the device in it is not the topic's")]
    OtherDevice,
    #[error("expected a command word in capitals, and a number")]
    Word,
}

/// The payload of the answer to `payload` for `device_id`, which is in `state`, at `at_us` (microseconds since the
/// Unix epoch).
pub(super) fn answer(
    device_id: &str,
    state: Device,
    payload: &[u8],
    at_us: i64,
) -> Result<String, NotACommand> {
    let command = read(device_id, payload)?;
    let at = DateTime::from_timestamp_micros(at_us).unwrap_or_default();
    let (command_type, content) = match state {
        Device::Offline => (BY_PLATFORM.to_owned(), NOT_ONLINE.to_owned()),
        Device::Unknown => (BY_PLATFORM.to_owned(), NOT_REGISTERED.to_owned()),
        Device::Online => (format!("{}{}", command.word, command.number), command.content(device_id, at)),
    };
    // Sorted by name, as all that the broker sends.
    let answer = json!({
        "assetId": device_id,
        "commandType": command_type,
        "content": content,
        "dateTime": at.to_rfc3339_opts(SecondsFormat::Millis, true),
    });
    Ok(answer.to_string())
}

fn read<'a>(device_id: &str, payload: &'a [u8]) -> Result<Command<'a>, NotACommand> {
    let text = std::str::from_utf8(payload).map_err(|_| NotACommand::Form)?;
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).ok_or(NotACommand::Form)?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if payload.len() > COMMAND_BYTES_MAX || !inner.bytes().all(is_plain) {
        return Err(NotACommand::Form);
    }
    let mut fields = inner.split(',');
    let first = fields.next().unwrap_or_default();
    if is_word(first) {
        return Ok(Command { serial: None, word: first, number: "" });
    }
    let (Some(_direction), Some(serial), Some(word), Some(number)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(NotACommand::Form);
    };
    if first != device_id {
        return Err(NotACommand::OtherDevice);
    }
    let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    if !is_word(word) || !is_number {
        return Err(NotACommand::Word);
    }
    Ok(Command { serial: Some(serial), word, number })
}

/// `BASE`, `P43`.
fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

impl Command<'_> {
    /// What is in `content`: an array of strings, itself as a string.
    fn content(&self, device_id: &str, at: DateTime<chrono::Utc>) -> String {
        let mut parts = vec![device_id.to_owned()];
        match self.serial {
            Some(serial) => parts.extend([UPLINK, serial, self.word, self.number].map(str::to_owned)),
            None => parts.push(self.word.to_owned()),
        }
        let known = REPLIES.iter().find(|(word, number, _)| (*word, *number) == (self.word, self.number));
        let values = known.map_or(&[][..], |(_, _, values)| values);
        parts.extend(values.iter().map(|value| match *value {
            CLOCK => at.format("%Y%m%d%H%M%S").to_string(),
            value => value.to_owned(),
        }));
        json!(parts).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const AT_US: i64 = 1_714_550_400_123_456;

    fn content(payload: &str) -> (String, Vec<String>) {
        let answer = answer("794308010642", Device::Online, payload.as_bytes(), AT_US).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let content = serde_json::from_str(answer["content"].as_str().unwrap()).unwrap();
        (answer["commandType"].as_str().unwrap().to_owned(), content)
    }

    #[test]
    fn a_known_device_answers_as_in_the_vendor_s_example() {
        let given = answer("794308010642", Device::Online, b"(794308010642,1,001,BASE,2)", AT_US).unwrap();
        let expected = r#"{"assetId":"794308010642","commandType":"BASE2","content":"[\"794308010642\",\"8\",\"001\",\"BASE\",\"2\",\"20240501080000\"]","dateTime":"2024-05-01T08:00:00.123Z"}"#;
        assert_eq!(given, expected);
        let (word, parts) = content("(794308010642,1,007,BASE,1)");
        assert_eq!(
            (&*word, &parts[..5]),
            ("BASE1", &["794308010642", "8", "007", "BASE", "1"].map(str::to_owned)[..])
        );
        assert_eq!((parts.len(), &*parts[7]), (15, "Jointech"));
        let (word, parts) = content("(794308010642,1,001,ELOCK,3,8000,0)");
        assert_eq!((&*word, parts.len()), ("ELOCK3", 5), "a word that is not in the table: no values");
        let (word, parts) = content("(P43,888888)");
        assert_eq!((&*word, parts.join(",")), ("P43", "794308010642,P43,1,0".to_owned()));
    }

    #[test]
    fn the_platform_answers_for_devices_that_cannot() {
        for (state, words) in
            [(Device::Offline, "Device not online！"), (Device::Unknown, "Device has not been registered！")]
        {
            let answer = answer("1", state, b"(1,1,001,BASE,1)", AT_US).unwrap();
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!((&answer["commandType"], &answer["content"]), (&json!("MQTT_CMD"), &json!(words)));
            assert!(words.ends_with('\u{FF01}'));
        }
    }

    #[test]
    fn what_is_no_command_is_not_answered() {
        use NotACommand::{Form, OtherDevice, Word};
        let long = format!("(1,1,001,BASE,1,{})", "x".repeat(COMMAND_BYTES_MAX));
        for (payload, why) in [
            ("", Form),
            ("()", Form),
            ("(1,1,001,BASE)", Form),
            ("1,1,001,BASE,1", Form),
            // As a third party sends it: JSON.stringify of the text.
            (r#""(1,1,001,BASE,1)""#, Form),
            ("(1,1,001,BASE,1)\n", Form),
            ("(1,1,001,BÄSE,1)", Form),
            (&long, Form),
            ("(2,1,001,BASE,1)", OtherDevice),
            ("(1,1,001,base,1)", Word),
            ("(1,1,001,BASE,)", Word),
            ("(1,1,001,BASE,x)", Word),
        ] {
            assert_eq!(answer("1", Device::Online, payload.as_bytes(), AT_US), Err(why), "{payload}");
        }
        assert_eq!(answer("1", Device::Online, b"(1,1,001,\xFF,1)", AT_US), Err(Form));
    }

    #[test]
    fn no_bytes_bring_it_down() {
        proptest::proptest!(|(payload: Vec<u8>, text in r"\((1,)?[0-9A-Z,]{0,20}\)?")| {
            let _ = answer("1", Device::Online, &payload, AT_US);
            let _ = answer("1", Device::Online, text.as_bytes(), i64::MAX);
        });
    }
}
