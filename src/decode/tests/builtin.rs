//! The built-in vendors: their declarations keep the rules, and their documented oddities decode.

use super::*;
use arrow::datatypes::{Float64Type, Int32Type};
use serde_json::json;

pub(super) fn built_in(vendor: &str, kind: &str) -> Declaration {
    let text = declaration(vendor, kind).unwrap_or_else(|| panic!("{vendor} has no {kind}"));
    Declaration::parse(text, &format!("{vendor}/{kind}.toml")).unwrap()
}

pub(super) fn all() -> Vec<Declaration> {
    let kinds = vendors().iter().flat_map(|vendor| {
        super::super::builtin(vendor).unwrap().iter().map(move |(kind, _)| built_in(vendor, kind))
    });
    kinds.collect()
}

#[test]
fn all_built_in_declarations_keep_the_rules() {
    let all = all();
    assert_eq!(all.len(), 14);
    check_vendor(&all).unwrap();
    for vendor in vendors() {
        for (kind, text) in super::super::builtin(vendor).unwrap() {
            let declaration = built_in(vendor, kind);
            assert_eq!((declaration.kind(), declaration.text()), (*kind, *text));
            assert!(!declaration.meaning().is_empty());
            for field in declaration.fields() {
                assert!(!field.meaning.is_empty(), "{kind}.{}", field.name);
            }
        }
        assert_eq!(built_in(vendor, "other").fields().len(), 0);
    }
}

#[test]
fn every_level_has_a_field_id() {
    let location = built_in("jointech", "location").arrow_fields();
    let peripherals = location.iter().find(|field| field.name() == "ks_peripherals").unwrap();
    let arrow::datatypes::DataType::List(element) = peripherals.data_type() else { panic!("a list") };
    let arrow::datatypes::DataType::Struct(members) = element.data_type() else { panic!("of structs") };
    assert_eq!(element.name(), "element");
    for field in location.iter().chain([&**element]).chain(members.iter().map(|member| &**member)) {
        assert!(field.is_nullable() && field.metadata().contains_key("PARQUET:field_id"), "{}", field.name());
    }
    let speed = location.iter().find(|field| field.name() == "speed_kmh").unwrap().metadata();
    assert_eq!(
        (&*speed["unit"], &*speed["role"], &*speed["description"]),
        ("km/h", "measurement", "Speed over ground.")
    );
    let rope = location.iter().find(|field| field.name() == "status_lock_rope").unwrap().metadata();
    assert_eq!(rope["codes"], "0 inserted, 1 pulled out");
}

/// Each code of the vendor's tables, decoded: the fixtures are those tables, code, blank and label.
#[test]
fn code_tables_are_complete() {
    let tables = [
        ("alarm", "alarmType", "alarm", include_str!("../../../fixtures/jointech/alarm_codes.txt"), 125),
        ("event", "eventType", "lock_event", include_str!("../../../fixtures/jointech/event_codes.txt"), 21),
        (
            "sublock",
            "eventType",
            "sublock_event",
            include_str!("../../../fixtures/jointech/sublock_codes.txt"),
            29,
        ),
    ];
    for (kind, member, column, table, count) in tables {
        let declaration = built_in("jointech", kind);
        let (code_column, name_column) = (format!("{column}_code"), format!("{column}_name"));
        let field = declaration.fields().iter().find(|field| *field.name == code_column).unwrap();
        let labels = &field.codes.as_ref().unwrap().table.labels;
        assert_eq!((table.lines().count(), labels.len()), (count, count), "{kind}");
        for line in table.lines() {
            let (code, label) = line.split_once(' ').unwrap();
            let message = decode(&declaration, format!(r#"{{"assetId":"1","{member}":{code}}}"#));
            assert_eq!(message.error, None);
            // The one code that means that there is no event.
            let expected = if line == "-1 none" { (None, None) } else { (code.parse().ok(), Some(label)) };
            assert_eq!((message.int(&code_column), message.text(&name_column)), expected, "{kind} {code}");
        }
    }
}

/// What the vendor sends where it has nothing to say, each in every form that its pages show.
#[test]
fn every_sentinel_is_null() {
    let nested = |object: &str, member: &str, value: &str| {
        json!({ object: format!("{{\"{member}\":{value}}}") }).to_string()
    };
    let plain = |member: &str, value: &str| format!("{{\"{member}\":{value}}}");
    let mut cases: Vec<(&str, &str, String)> = Vec::new();
    for value in ["-1000", "-1000.0", "\"-1000.0\"", "\"null\"", "\"\"", "null"] {
        cases.push(("location", "expand_temperature_c", nested("expandInfo", "temperature", value)));
        cases.push(("location", "ks_temperature_c", nested("ksInfo", "temperature", value)));
        cases.push(("sublock", "temperature_c", plain("temperature", value)));
    }
    for value in ["0", "0.0", "\"0\"", "\"null\""] {
        cases.push(("location", "expand_humidity_percent", nested("expandInfo", "humidity", value)));
        cases.push(("location", "ks_humidity_percent", nested("ksInfo", "humidity", value)));
        cases.push(("sublock", "humidity_percent", plain("humidity", value)));
    }
    for fuels in ["\"-1,-1,-1\"", "\"null\"", "\"\""] {
        for tank in ["expand_fuel_1", "expand_fuel_2", "expand_fuel_3"] {
            cases.push(("location", tank, nested("expandInfo", "fuels", fuels)));
        }
    }
    for (column, member) in [
        ("status_lock_rope", "lockRope"),
        ("status_lock_bar", "lockBar"),
        ("status_acc", "acc"),
        ("status_fuel_cut", "fuelCut"),
        ("status_door", "door"),
        ("status_engine", "engine"),
    ] {
        cases.push(("location", column, nested("statusJson", member, "-1")));
    }
    for kind in ["location", "sublock"] {
        cases.push((kind, "battery_percent", plain("battery", "255")));
        cases.push((kind, "voltage_v", plain("voltage", "\"0.0\"")));
        cases.push((kind, "voltage_v", plain("voltage", "\"null\"")));
    }
    cases.push(("sublock", "lock_rope", plain("locRope", "-1")));
    cases.push(("sublock", "sublock_event_code", plain("eventType", "-1")));
    cases.push(("location", "cell_signal", plain("cellSignal", "99")));
    for kind in ["location", "alarm", "event"] {
        for column in ["cell_mcc", "cell_mnc", "cell_lac", "cell_cid"] {
            cases.push((kind, column, plain("cells", "\"0,0,0,0\"")));
        }
        for value in ["0.0", "-0.0", "0"] {
            let nowhere = format!(r#"{{"longitude":{value},"latitude":0.0}}"#);
            cases.push((kind, "longitude", nowhere.clone()));
            cases.push((kind, "latitude", nowhere));
        }
    }
    for column in ["card_number", "unlock_password", "description", "file_index"] {
        let member = match column {
            "card_number" => "card",
            "unlock_password" => "password",
            "description" => "describe",
            _ => "fileIndex",
        };
        cases.push(("event", column, plain(member, "\"\"")));
    }
    for (kind, column, body) in cases {
        let message = decode(&built_in("jointech", kind), &body);
        assert!(
            message.is_null(column) && message.error.is_none(),
            "{kind} {column} {body}: {:?}",
            message.error
        );
    }
    // One tank of three, one coordinate that is really zero.
    let message = decode(&built_in("jointech", "location"), nested("expandInfo", "fuels", "\"-1,12.5,-1\""));
    assert_eq!((message.double("expand_fuel_2"), message.is_null("expand_fuel_1")), (Some(12.5), true));
    let message = decode(&built_in("jointech", "location"), r#"{"longitude":0.0,"latitude":5.5}"#);
    assert_eq!((message.double("longitude"), message.double("latitude")), (Some(0.0), Some(5.5)));
}

#[test]
fn delicode_positions_and_demographics() {
    let position = built_in("delicode", "person_position");
    let body = r#"{"type":"realtime_person_position","person_id":7,"location_id":2,"position":{"x":-4500,"y":12.5}}"#;
    assert!(position.matches("/websocket_realtime", body.as_bytes()));
    let message = decode(&position, body);
    assert_eq!((message.double("x_cm"), message.double("y_cm")), (Some(-4500.0), Some(12.5)));
    assert_eq!((message.int("person_id"), message.device_id.as_deref()), (Some(7), Some("2")));
    assert!(message.is_null("confidence") && message.error.is_none() && message.event_at_us.is_none());

    let demographics = built_in("delicode", "demographics");
    assert!(demographics.matches("", br#"{"message_type":"realtime_demographics"}"#));
    let message = decode(&demographics, r#"{"person_id":7,"location_id":2,"gender":2,"age":31}"#);
    assert_eq!((message.text("gender_name"), message.double("age_years")), (Some("female"), Some(31.0)));
    let unknown = decode(&demographics, r#"{"gender":3}"#);
    assert_eq!((unknown.int("gender_code"), unknown.text("gender_name")), (Some(3), None));
    assert!(unknown.error.is_none());
}

#[test]
fn a_damoov_position_with_its_time_in_every_form() {
    let update = built_in("damoov", "device_update");
    let lines = include_str!("../../../fixtures/damoov/device_update.jsonl").lines();
    let messages: Vec<_> = lines.map(|line| decode(&update, line)).collect();
    let [unix, iso, localized, bare] = &messages[..] else { panic!("four of them") };
    for message in [unix, iso, localized] {
        assert_eq!(message.error, None);
        assert_eq!(message.device_id.as_deref(), Some("87654321-4321-4321-4321-210987654321"));
        assert_eq!(message.text("track_token"), Some("ABCDEFAB-CDEF-ABCD-EFAB-CDEFABCDEFAB"));
        assert_eq!((message.double("latitude"), message.double("longitude")), (Some(40.7128), Some(-74.006)));
        assert_eq!((message.double("speed_mps"), message.double("accuracy_m")), (Some(15.5), Some(5.0)));
        assert_eq!(message.double("heading_deg"), Some(180.0));
    }
    let moment = Some(1_640_995_200_000_000);
    assert_eq!((unix.event_at_us, unix.int("position_at")), (moment, moment));
    assert_eq!((iso.event_at_us, iso.int("position_at")), (moment, moment));
    // Whose local time it is, only the source's options know.
    assert!(localized.event_at_us.is_none() && localized.is_null("position_at"));
    let texts = [unix, iso, localized].map(|message| message.text("position_at_text"));
    assert_eq!(texts, [Some("1640995200"), Some("2021-12-31T19:00:00-05:00"), Some("2021-12-31 19:00:00")]);

    assert_eq!((bare.error.as_ref(), bare.event_at_us), (None, Some(1_640_995_201_500_000)));
    assert!(bare.double("latitude").unwrap().is_sign_negative());
    assert!(["track_token", "speed_mps", "accuracy_m", "heading_deg"].iter().all(|name| bare.is_null(name)));

    let odd = decode(&update, r#"{"position":{"Timestamp":"yesterday"}}"#);
    assert!(odd.error.unwrap().contains("seconds since 1970, or a time like"));
    assert_eq!(decode(&update, r#"{"position":{"Timestamp":"1640995200"}}"#).event_at_us, moment);
}

#[test]
fn pontosense_reports_and_configurations() {
    let location = built_in("pontosense", "location");
    let body = r#"{"method":"location.report","params":[{"id":1,"x":156,"y":234,"z":175,"state":40,"zoneId":1},{"id":2,"x":-5,"y":0,"z":30,"state":77}]}"#;
    let channel = "/location/ATR_GN_P4-250120-09527";
    assert!(location.matches(channel, body.as_bytes()));
    let message = decode_on(&location, channel, body);
    assert_eq!(message.device_id.as_deref(), Some("ATR_GN_P4-250120-09527"));
    let list = message.column("targets").as_list::<i32>().value(0);
    let targets = list.as_struct();
    let int = |name: &str| -> Vec<Option<i32>> {
        targets.column_by_name(name).unwrap().as_primitive::<Int32Type>().iter().collect()
    };
    assert_eq!(int("state_code"), [Some(40), Some(77)]);
    assert_eq!(int("zone_id"), [Some(1), None]);
    let names: Vec<_> = targets.column_by_name("state_name").unwrap().as_string::<i32>().iter().collect();
    assert_eq!(names, [Some("occupied"), None], "an unknown code is kept, without a name");
    let x: Vec<_> = targets.column_by_name("x_cm").unwrap().as_primitive::<Float64Type>().iter().collect();
    assert_eq!(x, [Some(156.0), Some(-5.0)]);
    let FieldType::Structs { members, .. } = &location.fields()[1].data_type else { panic!("a list") };
    let state = members.iter().find(|member| member.name == "state_code").unwrap();
    let labels: Vec<i64> = state.codes.as_ref().unwrap().table.labels.iter().map(|(code, _)| *code).collect();
    assert_eq!(labels, [40, 80, 90, 99, 100]);
    for nobody in [r#"{"method":"location.report","params":[]}"#, r#"{"method":"location.report"}"#] {
        assert_eq!(decode_on(&location, channel, nobody).error, None, "{nobody}");
    }

    let config = built_in("pontosense", "config");
    let body = r#"{"scanArea":{"left":200,"right":210,"height":400},"zones":[{"name":"Bett","x":1,"y":2,"width":3,"height":4}],"preference":0}"#;
    let message = decode_on(&config, "/v1/iot/tokens?sn=ATR_GN_P4-250120-09527", body);
    assert_eq!(message.device_id.as_deref(), Some("ATR_GN_P4-250120-09527"));
    assert_eq!(message.double("scan_area_right_cm"), Some(210.0));
    assert_eq!(message.int("angle_preference"), Some(0));
    let list = message.column("zones").as_list::<i32>().value(0);
    let names = list.as_struct().column_by_name("zone_name").unwrap();
    assert_eq!(names.as_string::<i32>().value(0), "Bett");
}

fn location() -> serde_json::Value {
    let expand = json!({
        "temperature": "-1000.0", "humidity": "0", "fuels": "-1,-1,-1", "lux": "null", "pressure": "101325.0",
        "backBattery": "55,3.88,0", "angle": "0", "reportType": "1", "networkType": "4",
    });
    let peripherals = json!({
        "794308010642": {"subId": "794308010642", "dateTime": "2024-03-01T08:00:00Z", "temperature": 21.5,
            "humidity": 60.0, "lux": 12.0, "eventType": 3},
        "794308010643": {"subId": "794308010643", "temperature": -1000, "humidity": 0},
    });
    let ks = json!({
        "temperature": -1000.0, "humidity": 60, "volStatus": 1, "volValue": 12.1, "eleStatus": 2, "eleValue": 0.5,
        "shakeStatus": 1, "angVelocity": 21000.0, "posture": "x:1;y:-29;z:-2903", "vibrate": 3, "luminance4": 80,
        "subInfo": peripherals.to_string(),
    });
    json!({
        "assetId": "8130630001", "longitude": 113.92, "latitude": -0.0, "speed": 42, "direction": 360,
        "mileage": 12345, "gpsTime": "2024-03-01T08:00:10Z", "recvTime": "2024-03-01T07:59:00.123Z", "locType": 1,
        "cellSignal": 99, "gnssSignal": 11, "cells": "460,0,9365,4433", "battery": 255, "voltage": "3.88",
        "statusJson": json!({"lockRope": 0, "lockStatus": 1, "lockBar": -1, "acc": -1}).to_string(),
        "expandInfo": expand.to_string(), "ksInfo": ks.to_string(),
    })
}

#[test]
fn a_location_with_all_its_nesting() {
    let declaration = built_in("jointech", "location");
    let message = decode(&declaration, location().to_string());
    assert_eq!(message.error, None);
    assert_eq!(message.device_id.as_deref(), Some("8130630001"));
    assert_eq!(message.event_at_us, Some(1_709_280_010_000_000));
    assert_eq!(message.int("platform_received_at"), Some(1_709_279_940_123_000));
    assert!(message.double("latitude").unwrap().is_sign_negative());
    assert_eq!((message.double("speed_kmh"), message.double("heading_deg")), (Some(42.0), Some(360.0)));
    assert_eq!((message.int("loc_type_code"), message.text("loc_type_name")), (Some(1), Some("GPS")));
    assert_eq!([message.int("cell_mcc"), message.int("cell_mnc")], [Some(460), Some(0)]);
    assert_eq!([message.int("cell_lac"), message.int("cell_cid")], [Some(9365), Some(4433)]);
    assert_eq!((message.double("battery_percent"), message.bool("battery_charging")), (None, Some(true)));
    assert_eq!((message.int("status_lock_rope"), message.int("status_lock_status")), (Some(0), Some(1)));
    assert_eq!(message.double("expand_pressure_pa"), Some(101_325.0));
    assert_eq!(message.double("expand_backup_battery_v"), Some(3.88));
    assert_eq!(message.text("expand_report_type_name"), Some("supplementary"));
    assert_eq!(message.text("expand_network_type_name"), Some("4G"));
    assert_eq!(message.double("ks_angular_velocity_mdps"), Some(21_000.0));
    assert_eq!(message.double("ks_posture_z"), Some(-2903.0));
    assert_eq!(message.text("ks_current_status_name"), Some("under current"));
    assert_eq!(message.double("ks_luminance_blue_percent"), Some(80.0));
    for null in [
        "cell_signal",
        "status_lock_bar",
        "status_acc",
        "status_door",
        "expand_temperature_c",
        "expand_humidity_percent",
        "expand_fuel_1",
        "expand_fuel_3",
        "expand_light_lux",
        "ks_temperature_c",
    ] {
        assert!(message.is_null(null), "{null}");
    }
    let peripherals = message.column("ks_peripherals").as_list::<i32>().value(0);
    let peripherals = peripherals.as_struct();
    let ids = peripherals.column_by_name("peripheral_id").unwrap();
    assert_eq!(ids.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["794308010642", "794308010643"]);
    let celsius = peripherals.column_by_name("temperature_c").unwrap();
    let celsius = celsius.as_any().downcast_ref::<Float64Array>().unwrap();
    assert_eq!(celsius.iter().collect::<Vec<_>>(), [Some(21.5), None]);
}

#[test]
fn the_order_of_keys_does_not_matter() {
    // serde_json's objects are sorted, as the vendor's MQTT examples are; the webhook's are not.
    let sorted = location().to_string();
    let mut entries: Vec<_> = location().as_object().unwrap().clone().into_iter().collect();
    entries.reverse();
    let entries: Vec<_> = entries.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
    let reversed = format!("{{\n {} }}", entries.join(",\n "));
    let declaration = built_in("jointech", "location");
    assert_eq!(decode(&declaration, sorted).batch, decode(&declaration, reversed).batch);
}

#[test]
fn names_of_table_and_code_samples_are_read_as_well() {
    let expand = json!({"fReportType": 2, "fNetworkType": 5, "fVoltage": 3.7, "fAcceleration": "x:1;y:2;z:3",
        "posture": "null", "temperature": 21.5, "humidity": 40});
    let body = json!({"assetId": "1", "expandInfo": expand.to_string(), "ksInfo": ""}).to_string();
    let message = decode(&built_in("jointech", "location"), body);
    assert_eq!(message.error, None);
    assert_eq!(message.text("expand_report_type_name"), Some("alarm"));
    assert_eq!(message.text("expand_network_type_name"), Some("5G"));
    assert_eq!(message.double("expand_acceleration_y"), Some(2.0));
    assert_eq!(message.double("expand_temperature_c"), Some(21.5));
    assert!(message.is_null("expand_posture_x") && message.is_null("ks_peripherals"));
}

#[test]
fn no_fix_and_no_cell_are_null() {
    let body =
        r#"{"assetId":"1","longitude":0.0,"latitude":-0.0,"locType":0,"cells":"0,0,0,0","voltage":"0.0"}"#;
    let message = decode(&built_in("jointech", "location"), body);
    for null in ["longitude", "latitude", "cell_mcc", "cell_mnc", "cell_cid", "voltage_v"] {
        assert!(message.is_null(null), "{null}");
    }
    assert_eq!((message.text("loc_type_name"), message.error.clone()), (Some("none"), None));
}

#[test]
fn an_alarm_and_its_name() {
    let body = r#"{"assetId":"8130630001","alarmType":40,"dateTime":"2024-03-01T08:00:00Z","longitude":113.9,
        "latitude":22.5,"speed":0,"mileage":0,"cells":"460,0,1,2","describe":"","fileIndex":"1709280000"}"#;
    let message = decode(&built_in("jointech", "alarm"), body);
    assert_eq!((message.int("alarm_code"), message.text("alarm_name")), (Some(40), Some("Lock rope cut")));
    assert_eq!((message.text("file_index"), message.text("description")), (Some("1709280000"), None));
    assert_eq!((message.event_at_us, message.error), (Some(1_709_280_000_000_000), None));
    let custom = decode(&built_in("jointech", "alarm"), r#"{"alarmType":10000}"#);
    assert_eq!(custom.text("alarm_name"), Some("Custom Alarm"));
    let unknown = decode(&built_in("jointech", "alarm"), r#"{"alarmType":14}"#);
    assert_eq!((unknown.int("alarm_code"), unknown.text("alarm_name")), (Some(14), None));
}

#[test]
fn an_event_with_a_waybill_and_without() {
    let event = built_in("jointech", "event");
    let waybill = json!({"waybillGUID": "6f9b", "waybillNo": "W-7"}).to_string();
    let body = json!({"assetId": "1", "eventType": 13, "unLockType": -1, "card": "0012345678", "password": "888888",
        "dateTime": "2024-03-01T08:00:00Z", "describe": waybill});
    let message = decode(&event, body.to_string());
    assert_eq!(message.error, None);
    assert_eq!((message.text("waybill_guid"), message.text("waybill_no")), (Some("6f9b"), Some("W-7")));
    assert_eq!(message.text("description"), Some(waybill.as_str()));
    assert_eq!(message.text("lock_event_name"), Some("leave the starting point"));
    assert_eq!(
        (message.int("unlock_type_code"), message.text("unlock_type_name")),
        (Some(-1), Some("locked"))
    );
    assert_eq!(message.text("card_number"), Some("0012345678"));

    for words in ["opened by hand", "{not JSON", "", "5"] {
        let message = decode(&event, json!({"eventType": 1, "describe": words}).to_string());
        assert_eq!(message.text("description").unwrap_or_default(), words);
        assert!(message.is_null("waybill_no") && message.error.is_none(), "{words}: {:?}", message.error);
    }
}

#[test]
fn the_waybill_event_as_the_page_shows_it_is_kept_and_flagged() {
    // Inner quotes not escaped, closing quote lost.
    let body = r#"{"assetId":"1","eventType":13,"describe":"{"waybillGUID":"6f9b","waybillNo":"W-7"},"fileIndex":"1"}"#;
    for kind in ["event", "other"] {
        let message = decode_on(&built_in("jointech", kind), "upload/KEY/8130630001/event", body);
        assert!(message.error.unwrap().starts_with("not JSON: "));
        assert_eq!(message.device_id.as_deref(), Some("8130630001"));
    }
    let pushed = decode_on(&built_in("jointech", "event"), "/hooks/locks/event", body);
    assert_eq!(pushed.device_id, None);
}

#[test]
fn command_responses_as_list_and_as_words() {
    let response = built_in("jointech", "command_response");
    let parts = ["794308010642", "8", "001", "BASE", "2", "20240301080000"];
    let body = json!({"assetId": "794308010642", "commandType": "BASE2", "dateTime": "2024-03-01T08:00:00.5Z",
        "content": json!(parts).to_string()});
    let message = decode(&response, body.to_string());
    let values: Vec<_> = message.texts("content_values").into_iter().flatten().collect();
    assert_eq!((values, message.text("command_type")), (parts.map(str::to_owned).to_vec(), Some("BASE2")));
    assert_eq!((message.event_at_us, message.error), (Some(1_709_280_000_500_000), None));

    let failure = json!({"assetId": "1", "commandType": "MQTT_CMD", "content": "Device not online！"});
    let message = decode(&response, failure.to_string());
    assert_eq!((message.text("content_text"), message.error.clone()), (Some("Device not online！"), None));
    assert!(message.is_null("content_values"));
}

#[test]
fn a_sublock_by_its_own_code_table() {
    let body = r#"{"assetId":"8130630001","battery":80,"eventType":8,"gpsTime":"2024-03-01T08:00:10Z","humidity":55,
        "latitude":-0.0,"locRope":-1,"locStatus":1,"locTimes":12,"longitude":0.0,"rssi":57,"sensorType":4,
        "statusJson":"{\"lockRope\":0,\"gateway\":0}","subAssetID":"1A2B3C4D5E","subGpsTime":"2024-03-01T08:00:00Z",
        "subGpsTimestamp":1709280000000,"temperature":21.5,"voltage":"3.7"}"#;
    let message = decode(&built_in("jointech", "sublock"), body);
    assert_eq!(message.error, None);
    assert_eq!(
        (message.device_id.as_deref(), message.text("sub_asset_id")),
        (Some("8130630001"), Some("1A2B3C4D5E"))
    );
    assert_eq!(message.text("sublock_event_name"), Some("Pull out the lock rope event"));
    assert_eq!(message.text("sensor_type_name"), Some("JT709"));
    assert_eq!(message.int("sub_gps_at"), message.int("sub_gps_timestamp_at"));
    assert_eq!(
        (message.double("battery_percent"), message.bool("battery_charging")),
        (Some(80.0), Some(false))
    );
    assert_eq!(
        (message.double("temperature_c"), message.double("humidity_percent")),
        (Some(21.5), Some(55.0))
    );
    assert_eq!((message.int("status_lock_rope"), message.int("lock_status")), (Some(0), Some(1)));
    assert!(message.is_null("longitude") && message.is_null("lock_rope"));
    let none = decode(&built_in("jointech", "sublock"), r#"{"eventType":-1,"FStatusJson":{"lockValve":1}}"#);
    assert!(none.is_null("sublock_event_code") && none.is_null("sublock_event_name"));
    assert_eq!(none.int("status_lock_valve"), Some(1));
}

#[test]
fn an_undocumented_status_has_its_device_from_the_topic() {
    let status = built_in("jointech", "status");
    assert_eq!(decode_on(&status, "upload/KEY/77/status", "{}").device_id.as_deref(), Some("77"));
    let with_id = decode_on(&status, "upload/KEY/77/status", r#"{"assetId":"78"}"#);
    assert_eq!(with_id.device_id.as_deref(), Some("78"));
    let plain = decode_on(&status, "upload/KEY/77/status", "online");
    assert!(plain.device_id.as_deref() == Some("77") && plain.error.is_some());
}

#[test]
fn a_description_for_people_and_as_data() {
    let jointech = describe("jointech", None).unwrap().unwrap();
    assert_eq!(jointech.kinds.len(), 6);
    let alarm = describe("jointech", Some("alarm")).unwrap().unwrap();
    let text = alarm.to_string();
    for part in ["jointech/alarm:", "device_id is asset_id", "alarm_name", "WGS-84", "40  Lock rope cut"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let data = serde_json::to_value(&alarm).unwrap();
    assert_eq!(data["kinds"][0]["fields"][1]["codes"]["40"], "Lock rope cut");
    assert!(describe("jointech", Some("alarms")).unwrap().is_none());
    assert!(describe("nobody", None).unwrap().is_none());
}
