//! Content that the vendor encrypts: whichever way it came, the columns are the same.

use super::*;

const CLEAR: &str = r#"{"battery":85,"temperature":23.5,"lonlat":[116.4,39.9],"gyro":{"z":0}}"#;

fn telemetry() -> Declaration {
    builtin::built_in("sensoro", "telemetry")
}

fn columns(decoder: &mut Decoder) -> RecordBatch {
    RecordBatch::try_new(Arc::new(Schema::new(telemetry().arrow_fields())), decoder.finish()).unwrap()
}

#[test]
fn a_message_has_the_same_columns_in_plain_and_encrypted() {
    let outer = r#""sn":"0117","type":"text","createdTime":1467018792599,"msgId":1"#;
    let plain = format!(r#"{{{outer},"data":{CLEAR}}}"#);
    let sealed = format!(r#"{{{outer},"encryptData":"QUJD"}}"#);
    let mut decoder = Decoder::new(Some(&telemetry()));
    decoder.push(" ", plain.as_bytes());
    let expected = columns(&mut decoder);
    for payload in [
        sealed.clone(),
        format!(" {sealed}\n"),
        format!(r#"{{{outer},"data":{{"ch4":1}},"encryptData":"QUJD"}}"#),
    ] {
        let decoded = decoder.push_decrypted("", payload.as_bytes(), Some(CLEAR.as_bytes()));
        assert_eq!(
            (decoded.device_id, decoded.event_at_us, decoded.error),
            (Some("0117"), Some(1_467_018_792_599_000), None)
        );
        assert_eq!(columns(&mut decoder), expected, "{payload}");
    }
    decoder.push_decrypted("", plain.as_bytes(), None);
    assert_eq!(columns(&mut decoder), expected);
}

#[test]
fn what_was_not_decrypted_says_so_and_keeps_what_is_in_the_open() {
    let mut decoder = Decoder::new(Some(&telemetry()));
    let decoded = decoder.push_decrypted("", br#"{"sn":"0117","encryptData":"QUJD"}"#, None);
    assert_eq!(decoded.error, Some("encrypted, and not decrypted when it was recorded"));
    assert_eq!(decoded.device_id, Some("0117"));
    let decoded =
        decoder.push_decrypted("", br#"{"sn":"0117","data":{"customer":"a \"encryptData\" b"}}"#, None);
    assert_eq!(decoded.error, None);
    for (payload, clear) in [("{}", "no JSON"), ("[]", "{}"), ("", "{}"), ("}", "}")] {
        let decoded = decoder.push_decrypted("", payload.as_bytes(), Some(clear.as_bytes()));
        assert!(decoded.error.is_some(), "{payload} {clear}");
    }
    assert_eq!(decoder.push_decrypted("", b"{}", Some(b"{\"battery\":1}")).error, None);
    assert_eq!(decoder.finish()[0].len(), 7);
}

#[test]
fn where_nothing_is_declared_all_of_it_was_encrypted() {
    let declaration = field("name = \"n\"\ntype = \"int64\"\npath = \"n\"");
    let mut decoder = Decoder::new(Some(&declaration));
    decoder.push_decrypted("", b"QUJD", Some(b"{\"n\":7}"));
    decoder.push_decrypted("", b"{\"n\":8}", None);
    let columns = decoder.finish();
    let n = columns[0].as_any().downcast_ref::<Int64Array>().unwrap();
    assert_eq!(n.iter().collect::<Vec<_>>(), [Some(7), Some(8)]);
}

#[test]
fn a_time_of_any_format_is_the_same_moment() {
    let declaration = field("name = \"t\"\ntype = \"timestamp\"\npath = \"t\"\ntime = \"any\"");
    for time in [
        "1467018792599",
        "\"1467018792599\"",
        "1467018792.599",
        "\"2016-06-27T09:13:12.599Z\"",
        "\"2016-06-27 11:13:12.599+02:00\"",
    ] {
        let message = decode(&declaration, format!("{{\"t\":{time}}}"));
        assert_eq!(
            (message.int("t"), message.error.as_deref()),
            (Some(1_467_018_792_599_000), None),
            "{time}"
        );
    }
    assert!(decode(&declaration, r#"{"t":"soon"}"#).error.unwrap().contains("milliseconds or seconds"));
}

#[test]
fn an_event_has_its_result_wherever_it_stands() {
    let event = builtin::built_in("sensoro", "event");
    for (body, details) in [
        (r#"{"taskId":123,"resultCode":1}"#, None),
        (
            r#"{"taskId":123,"resultCode":1,"resultData":{"b":[1,{"a":null}]}}"#,
            Some(r#"{"b":[1,{"a":null}]}"#),
        ),
        (r#"{"taskId":"123","data":{"resultCode":1,"resultData":{"a":"\u00e9"}}}"#, Some(r#"{"a":"é"}"#)),
        (r#"{"data":{"taskId":"123","resultCode":1,"resultData":[1.5]}}"#, Some("[1.5]")),
        (r#"{"data":{"taskId":"123","resultCode":1,"resultData":"done"}}"#, Some("done")),
        (r#"{"data":{"taskId":"123","resultCode":1,"resultData":null}}"#, None),
    ] {
        let message = decode(&event, body);
        assert_eq!((message.text("task_id"), message.int("result_code")), (Some("123"), Some(1)), "{body}");
        assert_eq!(message.text("result_data"), details, "{body}");
        assert_eq!(
            (message.text("result_name"), message.error.as_deref(), &message.device_id),
            (Some("failure"), None, &None)
        );
    }
}
