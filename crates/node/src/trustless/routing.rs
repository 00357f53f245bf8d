//! Say that this node has a block, to programs that ask where one is.
//!
//! Specified in <https://specs.ipfs.tech/routing/http-routing-v1/>.
//!
//! Not here: what other nodes have.

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HOST, VARY};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use store::cid::Cid;

use super::{Node, Refused, Served, failed};

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
/// The protocol by which this node serves blocks.
const PROTOCOL: &str = "transport-ipfs-gateway-http";
/// How long an answer may be kept: long if there is one, short if not, as the specification says.
const KEEP_FOUND: &str = "public, max-age=300";
const KEEP_NOTHING: &str = "public, max-age=15";
/// Digits of the base in which libp2p writes the names of peers.
const BASE_58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Before an Ed25519 key, in the bytes of a peer's name: identity hash, 36 bytes, of a protocol
/// buffer with the kind of key and the key.
const PEER_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Who has a block: this node, or nobody that it knows.
pub(super) async fn providers(
    State(served): State<Served>,
    Path(cid): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let cid: Cid = cid.parse().map_err(|error| Refused::bad(format!("{cid:?}: {error}")))?;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    let looking = tokio::task::spawn_blocking(move || {
        let has = served.0.index.has(&cid).map_err(|error| failed(&error))?;
        let node = served.0.node.filter(|_| has);
        Ok::<_, Refused>(node.map(|node| record(&node, host.as_deref())))
    });
    let found: Option<Value> = looking.await.map_err(|error| failed(&error))??;
    let found: Vec<Value> = found.into_iter().filter(|it| passes(it, &query)).collect();
    let keep = if found.is_empty() { KEEP_NOTHING } else { KEEP_FOUND };
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (kind, text) = match accept.contains(LINES) {
        true => (LINES, found.iter().map(|record| format!("{record}\n")).collect()),
        false => (JSON, json!({"Providers": found}).to_string()),
    };
    let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, keep), (VARY, "Accept")];
    Ok((headers, text).into_response())
}

fn record(node: &Node, host: Option<&str>) -> Value {
    // Where the node listens everywhere, it is reached as whoever asked has reached it.
    let asked = host.and_then(|host| host.parse().ok());
    let address = match node.address.ip().is_unspecified() {
        true => asked.unwrap_or(node.address),
        false => node.address,
    };
    let family = if address.is_ipv4() { "ip4" } else { "ip6" };
    json!({
        "Schema": "peer",
        "ID": peer_id(&node.key),
        "Addrs": [format!("/{family}/{}/tcp/{}/http", address.ip(), address.port())],
        "Protocols": [PROTOCOL],
    })
}

/// Whether the filters that were given let the record through (IPIP-484).
fn passes(record: &Value, query: &[(String, String)]) -> bool {
    let filter = |name: &str| {
        let given = query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        given.filter(|value| !value.is_empty())
    };
    let protocols = filter("filter-protocols")
        .is_none_or(|filter| filter.split(',').any(|wanted| wanted == PROTOCOL));
    let address = record["Addrs"][0].as_str().unwrap_or_default();
    let has = |part: &str| address.split('/').any(|it| it == part);
    let addresses = filter("filter-addrs").is_none_or(|filter| {
        let mut without = filter.split(',').filter_map(|part| part.strip_prefix('!'));
        let mut wanted = filter.split(',').filter(|part| !part.starts_with('!')).peekable();
        !without.any(has) && (wanted.peek().is_none() || wanted.any(has))
    });
    protocols && addresses
}

/// The name of the peer with this key.
fn peer_id(key: &[u8; 32]) -> String {
    let bytes = [&PEER_PREFIX[..], key].concat();
    // Digits of base 58, the lowest first.
    let mut digits: Vec<u8> = Vec::new();
    for byte in &bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            // Below 58, and the carry stays below 2^8.
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).map(|_| 0);
    let digits = zeros.chain(digits.into_iter().rev());
    digits.map(|digit| char::from(BASE_58[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::{passes, peer_id};
    use serde_json::json;

    /// The key and name are those that libp2p's own tests pair.
    #[test]
    fn a_peer_is_named_as_libp2p_names_it() {
        let key = data_encoding::HEXLOWER
            .decode(b"1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e")
            .unwrap();
        let name = peer_id(&key.try_into().unwrap());
        assert_eq!(name, "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq");
    }

    #[test]
    fn filters_let_through_what_they_name() {
        let record = json!({"Addrs": ["/ip4/127.0.0.1/tcp/8420/http"]});
        let passes = |name: &str, value: &str| passes(&record, &[(name.into(), value.into())]);
        assert!(passes("filter-addrs", ""));
        assert!(passes("filter-addrs", "https,tcp,webrtc"));
        assert!(!passes("filter-addrs", "quic-v1"));
        assert!(!passes("filter-addrs", "tcp,!http"));
        assert!(passes("filter-addrs", "!quic-v1"));
        assert!(passes("filter-protocols", "unknown,transport-ipfs-gateway-http"));
        assert!(!passes("filter-protocols", "transport-bitswap"));
    }
}
