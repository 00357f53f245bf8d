//! What a node keeps of its network of machines, in the folder `network/` of its home.
//!
//! ```text
//! member.toml   the node that began the network, passes, and whom to ask first
//! tickets.toml  invitations that are open: a hash of each secret, until when, for how many
//! known         the last announcements of other nodes, to find them again
//! revocations   passes that were taken back, which other nodes have told or this one has
//! addresses     where this node listens now, one a line
//! ```
//!
//! Invariants: a file is replaced whole, by one rename.
//!
//! Not here: what the passes are worth (`network::membership`).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::BASE32_NOPAD;
use network::membership::{Passes, SignedAnnouncement};
use network::messages::{HELLO_SIZE_MAX, Hello, REVOKED_SIZE_MAX, Revoked};
use network::revocation::SignedRevocation;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::whole::replace;
use types::bounded::List;
use types::codec::{decode, encode};
use types::id::Hash;

/// Bytes of a file of this folder, at most.
const FILE_SIZE_MAX: u64 = 1 << 20;
/// What is kept of passes that were taken back is read again.
const _: () = assert!(REVOKED_SIZE_MAX as u64 <= FILE_SIZE_MAX);
/// Open invitations, at most.
pub const TICKETS_MAX: usize = 256;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// It cannot be read or written.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not say what it should.
    #[error("{path}: {what}; restore it from a backup, or join again with a new ticket")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// There are too many invitations.
    #[error("{TICKETS_MAX} invitations are open already; wait until some end")]
    TooManyTickets,
}

/// Why a node belongs to its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node that began the network of machines.
    pub root: Hash,
    /// From this node to it.
    pub passes: Passes,
    /// Whom to ask first: the node that let this one in.
    pub contact: Option<Contact>,
}

/// A node and where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Its key.
    pub node: Hash,
    /// Where it was.
    pub addresses: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberFile {
    root: String,
    passes: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contact: Option<ContactFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContactFile {
    node: String,
    addresses: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketsFile {
    #[serde(default)]
    ticket: Vec<OpenTicket>,
}

/// An invitation that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenTicket {
    /// SHA-256 of the secret, in hexadecimal.
    secret: String,
    /// Seconds since 1970.
    expires: u64,
    /// Nodes that may still use it.
    left: u32,
}

/// The folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files(PathBuf);

impl Files {
    /// The folder of a home.
    #[must_use]
    pub fn of(home: &crate::home::Home) -> Files {
        Files(home.path().join("network"))
    }

    /// Whether this node has a network of machines, or is to have one.
    #[must_use]
    pub fn exist(&self) -> bool {
        self.0.is_dir()
    }

    /// Why this node belongs. One that nobody let in began its own network.
    ///
    /// # Errors
    /// When the file cannot be read, or says something else.
    pub fn member(&self, me: Hash) -> Result<Member, FilesError> {
        let path = self.0.join("member.toml");
        let own = Member { root: me, passes: Passes::default(), contact: None };
        let Some(text) = read(&path)? else { return Ok(own) };
        let text = String::from_utf8_lossy(&text).into_owned();
        let wrong =
            |what: &str| FilesError::Malformed { path: path.clone(), what: what.to_owned() };
        let file: MemberFile = toml::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
        let key = |text: &str| Hash::parse(text).ok_or_else(|| wrong("a key is none"));
        let passes = BASE32_NOPAD.decode(file.passes.as_bytes());
        let passes = passes.map_err(|_| wrong("passes are not base 32"))?;
        let passes = decode(&passes).map_err(|error| wrong(&error.to_string()))?;
        let contact = match file.contact {
            Some(it) => Some(Contact { node: key(&it.node)?, addresses: it.addresses }),
            None => None,
        };
        Ok(Member { root: key(&file.root)?, passes, contact })
    }

    /// Keeps why this node belongs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_member(&self, member: &Member) -> Result<(), FilesError> {
        let contact = member
            .contact
            .as_ref()
            .map(|it| ContactFile { node: it.node.to_string(), addresses: it.addresses.clone() });
        let file = MemberFile {
            root: member.root.to_string(),
            passes: BASE32_NOPAD.encode(&encode(&member.passes)),
            contact,
        };
        self.write_toml("member.toml", &file)
    }

    /// Opens an invitation for so many nodes until then, in seconds since 1970; gives its secret.
    ///
    /// # Errors
    /// When there are too many, or the file cannot be written.
    pub fn invite(&self, expires: u64, uses: u32, now: u64) -> Result<[u8; 16], FilesError> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| FilesError::File {
            path: self.0.clone(),
            source: io::Error::other(error),
        })?;
        let _alone = self.lock_tickets()?;
        let mut file = self.tickets(now)?;
        if file.ticket.len() >= TICKETS_MAX {
            return Err(FilesError::TooManyTickets);
        }
        file.ticket.push(OpenTicket { secret: digest(&secret), expires, left: uses });
        self.write_toml("tickets.toml", &file)?;
        Ok(secret)
    }

    /// Uses an invitation once; false if it is not open.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn admit(&self, secret: &[u8; 16], now: u64) -> Result<bool, FilesError> {
        let _alone = self.lock_tickets()?;
        let (mut file, wanted) = (self.tickets(now)?, digest(secret));
        let Some(ticket) = file.ticket.iter_mut().find(|ticket| ticket.secret == wanted) else {
            return Ok(false);
        };
        ticket.left = ticket.left.saturating_sub(1);
        file.ticket.retain(|ticket| ticket.left > 0);
        self.write_toml("tickets.toml", &file)?;
        Ok(true)
    }

    /// Keeps other threads and processes from the invitations until it is dropped: none is used once
    /// more than it may be.
    fn lock_tickets(&self) -> Result<File, FilesError> {
        let path = self.0.join("tickets.lock");
        let lock = || {
            std::fs::create_dir_all(&self.0)?;
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|source| FilesError::File { path: path.clone(), source })
    }

    fn tickets(&self, now: u64) -> Result<TicketsFile, FilesError> {
        let path = self.0.join("tickets.toml");
        let Some(text) = read(&path)? else { return Ok(TicketsFile::default()) };
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut file: TicketsFile = toml::from_str(&text)
            .map_err(|error| FilesError::Malformed { path, what: error.to_string() })?;
        file.ticket.retain(|ticket| ticket.expires > now && ticket.left > 0);
        Ok(file)
    }

    /// The announcements that were known last; none where they cannot be read.
    #[must_use]
    pub fn known(&self) -> Vec<SignedAnnouncement> {
        let bytes = std::fs::read(self.0.join("known")).unwrap_or_default();
        if bytes.len() > HELLO_SIZE_MAX {
            return Vec::new();
        }
        decode::<Hello>(&bytes).map(|hello| hello.known.as_slice().to_vec()).unwrap_or_default()
    }

    /// Keeps announcements, to find their nodes again.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_known(&self, known: Vec<SignedAnnouncement>) -> Result<(), FilesError> {
        let known = List::new(known).unwrap_or_default();
        self.write("known", &encode(&Hello { known }))
    }

    /// The passes that were taken back.
    ///
    /// # Errors
    /// When the file cannot be read, or says something else.
    pub fn revocations(&self) -> Result<Vec<SignedRevocation>, FilesError> {
        let path = self.0.join("revocations");
        let Some(bytes) = read(&path)? else { return Ok(Vec::new()) };
        let read = decode::<Revoked>(&bytes);
        read.map(|it| it.known.as_slice().to_vec())
            .map_err(|error| FilesError::Malformed { path, what: error.to_string() })
    }

    /// Keeps which passes were taken back.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_revocations(&self, known: Vec<SignedRevocation>) -> Result<(), FilesError> {
        let known = List::new(known).unwrap_or_default();
        self.write("revocations", &encode(&Revoked { known }))
    }

    /// Where this node listens, if it runs.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn addresses(&self) -> Result<Vec<String>, FilesError> {
        let text = read(&self.0.join("addresses"))?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
    }

    /// Says where this node listens.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_addresses(&self, addresses: &[String]) -> Result<(), FilesError> {
        self.write("addresses", addresses.join("\n").as_bytes())
    }

    fn write_toml(&self, name: &str, value: &impl Serialize) -> Result<(), FilesError> {
        let text = toml::to_string(value).map_err(|error| FilesError::Malformed {
            path: self.0.join(name),
            what: error.to_string(),
        })?;
        self.write(name, text.as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FilesError> {
        let path = self.0.join(name);
        replace(&path, bytes).map_err(|source| FilesError::File { path, source })
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, FilesError> {
    let wrong = |source| FilesError::File { path: path.to_path_buf(), source };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(error)),
        Ok(metadata) if metadata.len() > FILE_SIZE_MAX => {
            Err(wrong(io::Error::other("the file is too large")))
        }
        Ok(_) => std::fs::read(path).map(Some).map_err(wrong),
    }
}

fn digest(secret: &[u8; 16]) -> String {
    let digest = Sha256::digest([&b"mashaa/network/invitation/v1"[..], secret].concat());
    data_encoding::HEXLOWER.encode(&digest)
}

#[cfg(test)]
mod tests {
    use network::membership::SignedPass;
    use network::revocation::Revocation;
    use types::node_key::NodeSecret;

    use super::*;

    #[test]
    fn an_invitation_opens_as_often_and_as_long_as_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files(folder.path().join("network"));
        assert!(!files.exist());
        let secret = files.invite(100, 2, 50).unwrap();
        assert!(files.exist());
        assert_ne!(secret, files.invite(100, 2, 50).unwrap());
        let mut other = secret;
        other[15] ^= 1;
        assert!(!files.admit(&other, 50).unwrap(), "another secret");
        assert!(files.admit(&secret, 50).unwrap());
        assert!(!files.admit(&secret, 100).unwrap(), "over");
        let secret = files.invite(100, 2, 50).unwrap();
        assert!(files.admit(&secret, 99).unwrap());
        assert!(files.admit(&secret, 50).unwrap());
        assert!(!files.admit(&secret, 50).unwrap(), "used up");
        let text = std::fs::read_to_string(folder.path().join("network/tickets.toml")).unwrap();
        let digits = data_encoding::HEXLOWER.encode(&secret);
        assert!(!text.contains(&digits), "the secret itself is not kept");
    }

    #[test]
    fn an_invitation_opens_no_more_often_for_those_who_come_together() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files(folder.path().join("network"));
        let secret = files.invite(100, 3, 50).unwrap();
        let opened = std::thread::scope(|scope| {
            let guests: Vec<_> =
                (0..12).map(|_| scope.spawn(|| files.admit(&secret, 50).unwrap())).collect();
            guests.into_iter().filter_map(|guest| guest.join().ok()).filter(|it| *it).count()
        });
        assert_eq!(opened, 3);
    }

    #[test]
    fn membership_is_read_back_and_a_broken_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files(folder.path().to_path_buf());
        let (root, me) = (NodeSecret::new([1; 32]), NodeSecret::new([2; 32]).key());
        let own = files.member(me).unwrap();
        assert_eq!((own.root, own.contact), (me, None));
        let pass = SignedPass::issue(Hash([3; 32]), me, 9, &root);
        let contact =
            Contact { node: root.key(), addresses: vec!["/ip4/1.2.3.4/tcp/5".to_owned()] };
        let passes = List::new(vec![pass]).unwrap();
        let member = Member { root: root.key(), passes, contact: Some(contact) };
        files.set_member(&member).unwrap();
        assert_eq!(files.member(me).unwrap(), member);
        let path = folder.path().join("member.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("passes = \"", "passes = \"A")).unwrap();
        let refused = files.member(me).unwrap_err().to_string();
        assert!(refused.contains("member.toml"), "{refused}");
    }

    #[test]
    fn what_was_taken_back_is_read_back_and_a_broken_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files(folder.path().to_path_buf());
        assert_eq!(files.revocations().unwrap(), []);
        let root = NodeSecret::new([1; 32]);
        let (node, maker) = (Hash([2; 32]), root.key());
        let (network, passes) = (Hash([3; 32]), Passes::default());
        let revocation = Revocation { network, node, maker, until: 9, passes };
        let signed = SignedRevocation::sign(revocation, &root);
        files.set_revocations(vec![signed.clone()]).unwrap();
        assert_eq!(files.revocations().unwrap(), [signed]);
        std::fs::write(folder.path().join("revocations"), [1, 0, 0]).unwrap();
        let refused = files.revocations().unwrap_err().to_string();
        assert!(refused.contains("revocations"), "{refused}");
    }
}
