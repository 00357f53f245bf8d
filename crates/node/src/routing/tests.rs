use super::*;

fn json(addresses: &str) -> String {
    format!(
        "{{\"Providers\":[{{\"Schema\":\"peer\",\"ID\":\"12D3\",\"Addrs\":[{addresses}],\"Protocols\":[\"{PROTOCOL}\"]}}]}}"
    )
}

fn found(text: &str) -> Vec<String> {
    places(text.as_bytes(), false, Distance::Machine).unwrap()
}

#[test]
fn gateways_over_http_are_found_and_others_passed_over() {
    for (address, place) in [
        ("/ip4/192.0.2.1/tcp/8080/http", Some("http://192.0.2.1:8080")),
        ("/ip4/192.0.2.1/tcp/8080/http/p2p/12D3", Some("http://192.0.2.1:8080")),
        ("/ip6/2001:db8::1/tcp/80/http", Some("http://[2001:db8::1]:80")),
        ("/dns4/example.org/tcp/80/http", Some("http://example.org:80")),
        ("/dns/example.org/tcp/443/https", None),
        ("/dns/example.org/tcp/443/tls/http", None),
        ("/ip4/192.0.2.1/tcp/4001", None),
        ("/ip4/192.0.2.1/udp/4001/quic-v1", None),
        ("/ip4/192.0.2.1/tcp/8080/ws", None),
        ("/ip4/192.0.2.1/tcp/8080/http/p2p/12D3/p2p-circuit", None),
        ("/ip4/192.0.2.1/tcp/8080/http/x", None),
        ("/ip4/1.2.3.4.5/tcp/80/http", None),
        ("/ip4/192.0.2.1/tcp/0/http", None),
        ("/ip4/192.0.2.1/tcp/65536/http", None),
        ("/dns4/exam ple.org/tcp/80/http", None),
        ("/dns4/a@b/tcp/80/http", None),
        ("/dns4/2130706433/tcp/80/http", None),
        ("/dns4/0x7f.1/tcp/80/http", None),
        ("/unix/%2Ftmp%2Fx/http", None),
        ("ip4/192.0.2.1/tcp/80/http", None),
        ("", None),
        ("/", None),
    ] {
        let expected: Vec<String> = place.into_iter().map(str::to_owned).collect();
        assert_eq!(found(&json(&format!("{address:?}"))), expected, "{address}");
    }
}

#[test]
fn nobody_leads_to_this_machine_or_its_lan_from_farther_away() {
    let near = [
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
    ];
    for ip in near {
        let address = format!("/ip4/{ip}/tcp/80/http");
        assert_eq!(place(&address, Distance::World), None, "{ip}");
        assert!(place(&address, Distance::Machine).is_some(), "{ip}");
    }
    for ip in ["::1", "::", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"] {
        assert_eq!(place(&format!("/ip6/{ip}/tcp/80/http"), Distance::World), None, "{ip}");
    }
    for name in ["localhost", "x.localhost", "printer.local", "router"] {
        assert_eq!(place(&format!("/dns/{name}/tcp/80/http"), Distance::World), None, "{name}");
    }
    let lan = Endpoint::parse("http://192.168.1.2:8420").unwrap();
    assert_eq!(place("/ip4/127.0.0.1/tcp/80/http", lan.distance), None);
    assert!(place("/ip4/192.168.7.7/tcp/80/http", lan.distance).is_some());
    assert!(place("/ip4/192.0.2.1/tcp/80/http", lan.distance).is_some());
}

/// Answers of whoever means harm, or of programs that have not read the specification.
#[test]
fn a_hostile_answer_is_refused_or_gives_nothing() {
    let refused = [
        "",
        "[]",
        "null",
        "{}",
        "{\"Providers\":{}}",
        "{\"Providers\":\"x\"}",
        "{\"Providers\":7}",
        "{\"Providers\":[",
        "<html></html>",
        "{\"providers\":[]}",
        "\u{0}",
    ];
    for text in refused {
        assert!(places(text.as_bytes(), false, Distance::Machine).is_err(), "{text}");
    }
    let deep = format!("{{\"Providers\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(places(deep.as_bytes(), false, Distance::Machine).is_err(), "deep");
    assert!(places(&[0xff, 0xfe], false, Distance::Machine).is_err());
    let long = vec![b' '; usize::try_from(ANSWER_SIZE_MAX).unwrap() + 1];
    assert!(places(&long, true, Distance::Machine).unwrap_err().contains("bytes"));
    let nothing = [
        "{\"Providers\":null}",
        "{\"Providers\":[]}",
        "{\"Providers\":[null,7,\"x\",[],{}]}",
        "{\"Providers\":[{\"Schema\":\"peer\"}]}",
        "{\"Providers\":[{\"Schema\":\"peer\",\"Addrs\":\"/ip4/192.0.2.1/tcp/80/http\"}]}",
        "{\"Providers\":[{\"Schema\":\"peer\",\"Addrs\":[7,null,{}]}]}",
        "{\"Providers\":[{\"Schema\":7,\"Addrs\":[\"/ip4/192.0.2.1/tcp/80/http\"]}]}",
        "{\"Providers\":[{\"Schema\":\"other\",\"Addrs\":[\"/ip4/192.0.2.1/tcp/80/http\"]}]}",
        "{\"Providers\":[{\"Schema\":\"peer\",\"Protocols\":[\"transport-bitswap\"],\"Addrs\":[\"/ip4/192.0.2.1/tcp/80/http\"]}]}",
        "{\"Providers\":[{\"Schema\":\"peer\",\"Protocols\":[7],\"Addrs\":[\"/ip4/192.0.2.1/tcp/80/http\"]}]}",
    ];
    for text in nothing {
        assert_eq!(found(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn an_answer_is_read_up_to_its_limits_and_no_further() {
    let address =
        |number: usize| format!("\"/ip4/192.0.2.{}/tcp/{}/http\"", number % 256, 1000 + number);
    let many: Vec<String> = (0..1000).map(address).collect();
    assert_eq!(found(&json(&many.join(","))).len(), ADDRESSES_MAX);
    let record = |number: usize| format!("{{\"Schema\":\"peer\",\"Addrs\":[{}]}}", address(number));
    let records: Vec<String> = (0..1000).map(record).collect();
    let all = found(&format!("{{\"Providers\":[{}]}}", records.join(",")));
    assert_eq!(all.len(), PLACES_MAX);
    let same = vec![record(1); 5].join("\n");
    assert_eq!(places(same.as_bytes(), true, Distance::Machine).unwrap().len(), 1, "each once");
    // The record after the last that is read would be the only good one.
    let late = format!("{}{}", "{}\n".repeat(RECORDS_MAX), record(1));
    assert_eq!(places(late.as_bytes(), true, Distance::Machine).unwrap(), Vec::<String>::new());
}

#[test]
fn lines_are_read_one_by_one_and_a_broken_one_spoils_no_other() {
    let good = "{\"Schema\":\"peer\",\"Addrs\":[\"/ip4/192.0.2.1/tcp/80/http\"]}";
    for text in
        [format!("{good}\n"), format!("\r\n{good}\r\n"), format!("{{\n{good}\nx\n"), good.into()]
    {
        let got = places(text.as_bytes(), true, Distance::World).unwrap();
        assert_eq!(got, ["http://192.0.2.1:80"], "{text:?}");
    }
    assert_eq!(places(b"", true, Distance::World).unwrap(), Vec::<String>::new());
}

#[test]
fn endpoints_are_those_that_are_named() {
    assert_eq!(endpoints("").unwrap(), []);
    let two = endpoints(" http://127.0.0.1:1/ ,https://example.org/routing").unwrap();
    assert_eq!((two[0].distance, two[1].distance), (Distance::Machine, Distance::World));
    for text in
        ["ftp://a", "example.org", "http://", "http:///x", "http://a b", "http://a?x", "http://u@a"]
    {
        assert!(endpoints(text).is_err(), "{text}");
    }
    let nine = ["http://a"; ENDPOINTS_MAX + 1].join(",");
    assert!(endpoints(&nine).is_err());
}
