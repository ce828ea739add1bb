//! Third-party clients, brokers and readers against the built program. Each scenario is a Python program of its own
//! in `tests/python`, so that nothing of ours stands on the other side of the wire.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]

mod support;

use std::process::Command;

use support::python::{python, scripts};

fn scenario(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(python())
        .arg(scripts().join(name))
        .arg(env!("CARGO_BIN_EXE_telereel"))
        .arg(folder.path())
        .current_dir(folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{name}:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_delicode_server_is_recorded_and_replayed_to_websocket_client() {
    scenario("websocket_delicode.py");
}

#[test]
fn a_damoov_server_is_recorded_and_replayed_to_its_sample_program() {
    scenario("websocket_damoov.py");
}

#[test]
fn a_broker_is_recorded_and_replayed_to_paho() {
    scenario("mqtt.py");
}

#[test]
fn a_simulated_vendor_publishes_to_a_broker_what_paho_and_the_archive_get() {
    scenario("simulate.py");
}

#[test]
fn the_mqtt_endpoint_is_a_server_to_paho() {
    scenario("mqtt_sessions.py");
}

#[test]
fn jointech_s_devices_answer_commands_and_its_broker_refuses_strangers() {
    scenario("jointech.py");
}

#[test]
fn webhooks_are_answered_recorded_and_replayed() {
    scenario("webhook.py");
}

#[test]
fn sensoro_pushes_are_checked_recorded_and_pushed_again() {
    scenario("sensoro.py");
}

#[test]
fn pontosense_is_recorded_and_replayed_to_the_vendor_s_documented_program() {
    scenario("pontosense.py");
}

#[test]
fn a_replay_is_controlled_by_keys_and_leaves_the_terminal_as_it_was() {
    scenario("terminal.py");
}

#[test]
fn what_removes_asks_at_a_terminal_and_takes_no_for_an_answer() {
    scenario("confirm.py");
}

#[test]
fn an_outage_is_recorded_and_reproduced_to_websockets() {
    scenario("outages.py");
}

#[test]
fn what_is_exported_with_pseudonyms_names_nobody_and_is_replayed_to_clients() {
    scenario("privacy.py");
}

#[test]
fn metrics_are_read_by_prometheus_s_client_and_health_is_told() {
    scenario("metrics.py");
}

#[test]
fn a_service_loses_no_webhook_over_restarts_and_reloads() {
    scenario("service.py");
}
