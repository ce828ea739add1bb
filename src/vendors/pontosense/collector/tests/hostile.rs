//! Whatever comes, in whatever order.

use super::*;

fn hostile() -> impl Strategy<Value = Input> {
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        r#"\{"token":"[a-z%&/]{0,5}","expireTime":"[0-9TZ:-]{0,20}","host":".{0,9}","data":(\[\]|null|7|\{)\}"#
            .prop_map(String::into_bytes),
        Just(br#"{"token":"t","expireTime":"9999-12-31T23:59:59Z","host":"h","data":{}}"#.to_vec()),
        Just(br#"{"token":"t","expireTime":"0001-01-01T00:00:00Z","host":"h"}"#.to_vec()),
    ];
    let response = (0..20u64, prop_oneof![Just(200u16), 100..600u16], any::<Option<u32>>(), body);
    let response = response.prop_map(|(call, status, retry_after_s, body)| Input::Response {
        call,
        result: Ok(HttpResponse { status, retry_after_s, body: body.into() }),
    });
    let cause = prop_oneof![
        any::<u8>().prop_map(CloseCause::MqttRefused),
        any::<u16>().prop_map(CloseCause::HttpStatus),
        any::<Option<u16>>().prop_map(CloseCause::ByPeer),
        Just(CloseCause::Broken),
        Just(CloseCause::ByUs),
        Just(CloseCause::Unreachable),
    ];
    let closed = (0..9u32, cause)
        .prop_map(|(conn, cause)| Input::Closed { conn, why: Closed { cause, detail: String::new() } });
    let subscribed =
        (0..9u32, proptest::collection::vec(any::<Option<u8>>(), 0..3)).prop_map(|(conn, qos)| {
            Input::Subscribed { conn, granted: qos.into_iter().map(|qos| (String::new(), qos)).collect() }
        });
    prop_oneof![
        4 => response,
        1 => closed,
        2 => subscribed,
        2 => (0..9u32).prop_map(|conn| Input::Opened { conn, session_present: true }),
        1 => Just(()).prop_map(|()| Input::Tick),
        1 => (0..20u64).prop_map(|call| Input::Response { call, result: Err("no route".into()) }),
    ]
}

proptest! {
    /// Whatever comes in whatever order: no panic, no spinning, and no secret in what is told.
    #[test]
    fn nothing_that_a_vendor_sends_breaks_it(
        inputs in proptest::collection::vec((hostile(), 0..100u64), 0..60)
    ) {
        let mut collector = PontosenseCollector::new(config(&["A", "B"]));
        let mut rng = Pcg64::seed_from_u64(1);
        let mut now = Now { wall_us: 1_738_708_800_000_000, steady_ns: 5_000 * SECOND_NS };
        let mut fx = Vec::new();
        collector.on(now, &mut rng, Input::Start, &mut fx);
        for (input, wait_s) in inputs {
            collector.on(now, &mut rng, input, &mut fx);
            let end_ns = now.steady_ns + wait_s * SECOND_NS;
            let mut ticks = 0;
            while let Some(at) = collector.wake_at().filter(|at| *at <= end_ns) {
                now.steady_ns = at.max(now.steady_ns);
                collector.on(now, &mut rng, Input::Tick, &mut fx);
                ticks += 1;
                prop_assert!(ticks < 1_000, "it spins");
            }
            now.steady_ns = end_ns;
        }
        prop_assert!(collector.calls.under_way.len() < 1_000);
        let told = format!("{fx:?}");
        prop_assert!(!told.contains("secret"));
    }
}
