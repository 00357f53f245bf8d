//! Random numbers that their maker cannot choose and anyone can check: ECVRF of RFC 9381, with the
//! suite ECVRF-EDWARDS25519-SHA512-TAI and a node's key.
//!
//! One key and one input have one output, and only the key's owner can compute it.
//!
//! Invariants:
//! - A proof that verifies has the one output of its key and input, on every machine.
//! - Keys and points of small order prove nothing.
//!
//! Why the key that signs statements may prove too: the nonces of both are hashes of one secret with
//! what is signed or proved, which never are the same bytes, since all that a node signs has a tag and
//! is longer than the 32 bytes of a point.
//!
//! Not here: what is drawn with the numbers (the `ledger` crate).

use std::fmt;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use curve25519_dalek::traits::IsIdentity;
use sha2::{Digest, Sha512};

use crate::codec::{Canonical, Malformed, Reader};
use crate::id::Hash;
use crate::node_key::NodeSecret;

/// Bytes of a proof.
pub const PROOF_SIZE: usize = 80;
/// The suite's number, in RFC 9381, section 5.5.
const SUITE: u8 = 3;
/// Bytes of the challenge.
const CHALLENGE_SIZE: usize = 16;

/// That an output is the one of a key and an input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VrfProof(pub [u8; PROOF_SIZE]);

/// The random bytes of a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VrfOutput(pub [u8; 64]);

/// What a proof consists of.
struct Parts {
    gamma: EdwardsPoint,
    challenge: [u8; CHALLENGE_SIZE],
    response: Scalar,
}

impl NodeSecret {
    /// The output for an input, and the proof of it. RFC 9381, section 5.1.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "in a field or group, which has no overflow"
    )]
    #[must_use]
    pub fn prove(&self, input: &[u8]) -> (VrfProof, VrfOutput) {
        let [low, nonce_key] = halves(&Sha512::digest(self.bytes()).into());
        let secret = Scalar::from_bytes_mod_order(clamp_integer(low));
        let key = self.key();
        let point = point_of(&key, input);
        let point_bytes = point.compress().to_bytes();
        let gamma = point * secret;
        let nonce = Sha512::new().chain_update(nonce_key).chain_update(point_bytes);
        let nonce = Scalar::from_bytes_mod_order_wide(&nonce.finalize().into());
        let commitments = [EdwardsPoint::mul_base(&nonce), point * nonce];
        let challenge = challenge(&key, &point, &gamma, &commitments);
        let response = nonce + scalar(&challenge) * secret;
        let mut proof = [0; PROOF_SIZE];
        let bytes = gamma.compress().to_bytes().into_iter();
        let bytes = bytes.chain(challenge).chain(response.to_bytes());
        proof.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        (VrfProof(proof), output(&gamma))
    }
}

impl VrfProof {
    /// The output, if this is the proof of the key's for the input. RFC 9381, sections 5.2 and 5.3,
    /// with the validation of the key.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "in a field or group, which has no overflow"
    )]
    #[must_use]
    pub fn verify(&self, key: &Hash, input: &[u8]) -> Option<VrfOutput> {
        let public = decode(key.0)?;
        if public.is_small_order() {
            return None;
        }
        let Parts { gamma, challenge: said, response } = self.parts()?;
        let point = point_of(key, input);
        let factor = scalar(&said);
        let commitments = [
            EdwardsPoint::mul_base(&response) - public * factor,
            point * response - gamma * factor,
        ];
        (challenge(key, &point, &gamma, &commitments) == said).then(|| output(&gamma))
    }

    fn parts(&self) -> Option<Parts> {
        let (gamma, rest) = self.0.split_first_chunk()?;
        let (challenge, rest) = rest.split_first_chunk()?;
        let response = Option::from(Scalar::from_canonical_bytes(rest.try_into().ok()?))?;
        Some(Parts { gamma: decode(*gamma)?, challenge: *challenge, response })
    }
}

fn output(gamma: &EdwardsPoint) -> VrfOutput {
    let gamma = gamma.mul_by_cofactor().compress();
    let hash = Sha512::new().chain_update([SUITE, 3]).chain_update(gamma.as_bytes());
    VrfOutput(hash.chain_update([0]).finalize().into())
}

/// The point of a key's for an input: the first hash that is one. RFC 9381, section 5.4.1.1.
fn point_of(key: &Hash, input: &[u8]) -> EdwardsPoint {
    let point = (0_u8..=u8::MAX).find_map(|count| {
        let hash = Sha512::new().chain_update([SUITE, 1]).chain_update(key.0).chain_update(input);
        let [low, _] = halves(&hash.chain_update([count, 0]).finalize().into());
        decode(low).map(|point| point.mul_by_cofactor()).filter(|point| !point.is_identity())
    });
    // Every second hash is a point, so that this fails once in 2^256 inputs.
    point.unwrap_or_default()
}

/// RFC 9381, section 5.4.3.
fn challenge(
    key: &Hash,
    point: &EdwardsPoint,
    gamma: &EdwardsPoint,
    commitments: &[EdwardsPoint; 2],
) -> [u8; CHALLENGE_SIZE] {
    let mut hash = Sha512::new().chain_update([SUITE, 2]).chain_update(key.0);
    for point in [point, gamma].into_iter().chain(commitments) {
        hash.update(point.compress().as_bytes());
    }
    let mut challenge = [0; CHALLENGE_SIZE];
    let bytes = hash.chain_update([0]).finalize();
    challenge.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
    challenge
}

fn scalar(challenge: &[u8; CHALLENGE_SIZE]) -> Scalar {
    Scalar::from(u128::from_le_bytes(*challenge))
}

/// A point of its bytes, of which each point has one.
fn decode(bytes: [u8; 32]) -> Option<EdwardsPoint> {
    let point = CompressedEdwardsY(bytes).decompress()?;
    (point.compress().to_bytes() == bytes).then_some(point)
}

fn halves(bytes: &[u8; 64]) -> [[u8; 32]; 2] {
    let mut halves = [[0; 32]; 2];
    halves.iter_mut().flatten().zip(bytes).for_each(|(to, byte)| *to = *byte);
    halves
}

impl fmt::Display for VrfProof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "0x{}", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for VrfProof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl Canonical for VrfProof {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.array().map(VrfProof)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    /// RFC 9381, appendix B.3: secret, input, proof, output.
    const EXAMPLES: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "",
            "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f26f8a57ccaed74ee1b190bed1f479d9727d2d0f9b005a6e456a35d4fb0daab1268a1b0db10836d9826a528ca76567805",
            "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "72",
            "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed5933bf0864a62558b3ed7f2fea45c92a465301b3bbf5e3e54ddf2d935be3b67926da3ef39226bbc355bdc9850112c8f4b02",
            "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc57663b56373a5031",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "af82",
            "9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf8096bb474e53895c362d8628ee9f9ea3c0e52c7a5c691b6c18c9979866568add7a2d41b00b05081ed0f58ee5e31b3a970e",
            "645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c452118fec1219202a0edcf038bb6373241578be7217ba85a2687f7a0310b2df19f",
        ],
    ];

    fn example(texts: &[&str; 4]) -> (NodeSecret, Vec<u8>, VrfProof, Vec<u8>) {
        let [secret, input, proof, output] =
            texts.map(|it| HEXLOWER.decode(it.as_bytes()).unwrap());
        let secret = NodeSecret::new(secret.try_into().unwrap());
        (secret, input, VrfProof(proof.try_into().unwrap()), output)
    }

    #[test]
    fn proofs_and_outputs_are_those_of_the_rfc() {
        for texts in &EXAMPLES {
            let (secret, input, proof, output) = example(texts);
            let output = VrfOutput(output.try_into().unwrap());
            assert_eq!(secret.prove(&input), (proof, output));
            assert_eq!(proof.verify(&secret.key(), &input), Some(output));
        }
    }

    #[test]
    fn no_other_proof_key_or_input_has_the_output() {
        let (secret, input, proof, _) = example(&EXAMPLES[1]);
        for bit in 0..PROOF_SIZE * 8 {
            let mut other = proof;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(other.verify(&secret.key(), &input), None, "bit {bit}");
        }
        assert_eq!(proof.verify(&secret.key(), b"other"), None);
        assert_eq!(proof.verify(&NodeSecret::new([1; 32]).key(), &input), None);
        // The neutral element, of order 1, and points of orders 2, 4 and 8.
        let small = curve25519_dalek::constants::EIGHT_TORSION;
        for key in small.map(|point| Hash(point.compress().to_bytes())) {
            assert_eq!(proof.verify(&key, &input), None);
        }
    }

    #[test]
    fn bytes_that_are_no_point_or_number_are_refused() {
        let (secret, input, proof, _) = example(&EXAMPLES[0]);
        // The field's order plus one is another encoding of one.
        let mut one = [0xff; 32];
        (one[0], one[31]) = (0xee, 0x7f);
        assert!(decode(one).is_none());
        let mut large = proof;
        large.0[PROOF_SIZE - 32..].fill(0xff);
        assert_eq!(large.verify(&secret.key(), &input), None);
    }
}
