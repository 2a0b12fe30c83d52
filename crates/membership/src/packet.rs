//! Layout of the detector's packets, and a look into them before foca gets them.
//!
//! `src identity | incarnation u16 | dst identity | message u8 (probe u8, identity) | count u16 | count x (identity |
//! incarnation u16 | state u8)`, big endian, as foca counts; an identity is `peer [u8;32] | epoch u64 | life u32`.

use bytes::{Buf, BufMut, Bytes};
use foca::{Codec, Header, Incarnation, Member, Message, State};
use sinew_wire::PeerId;

/// One life of one run of a node, to the failure detector: who was declared down comes back with another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) peer: PeerId,
    pub(crate) epoch: u64,
    pub(crate) life: u32,
}

const IDENTITY: usize = PeerId::LEN + 12;
const MEMBER: usize = IDENTITY + 3;

impl Identity {
    /// Of two identities of a node, the higher one is newer.
    pub(crate) const fn order(&self) -> (u64, u32) {
        (self.epoch, self.life)
    }
}

impl foca::Identity for Identity {
    type Addr = PeerId;

    fn renew(&self) -> Option<Self> {
        Some(Self { life: self.life.checked_add(1)?, ..*self })
    }

    fn addr(&self) -> PeerId {
        self.peer
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.order() > adversary.order()
    }
}

/// Why bytes are not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPacket {
    #[error("a packet of the detector that is cut short")]
    Short,
    #[error("a packet of the detector with an unknown message or state")]
    Unknown,
    #[error("a packet of the detector with something behind it")]
    Trailing,
    #[error("no room for a packet of the detector")]
    NoRoom,
}

/// The layout, for foca.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout;

fn put_identity(id: &Identity, buf: &mut impl BufMut) {
    buf.put_slice(id.peer.public_key());
    buf.put_u64(id.epoch);
    buf.put_u32(id.life);
}

fn get_identity(buf: &mut impl Buf) -> Result<Identity, BadPacket> {
    let mut key = [0; PeerId::LEN];
    buf.try_copy_to_slice(&mut key).map_err(|_| BadPacket::Short)?;
    let epoch = buf.try_get_u64().map_err(|_| BadPacket::Short)?;
    let life = buf.try_get_u32().map_err(|_| BadPacket::Short)?;
    Ok(Identity { peer: PeerId::from_public_key(key), epoch, life })
}

fn get_incarnation(buf: &mut impl Buf) -> Result<Incarnation, BadPacket> {
    buf.try_get_u16().map_err(|_| BadPacket::Short)
}

impl Codec<Identity> for Layout {
    type Error = BadPacket;

    fn encode_header(&mut self, header: &Header<Identity>, mut buf: impl BufMut) -> Result<(), BadPacket> {
        if buf.remaining_mut() < 3 * IDENTITY + 4 {
            return Err(BadPacket::NoRoom);
        }
        put_identity(&header.src, &mut buf);
        buf.put_u16(header.src_incarnation);
        put_identity(&header.dst, &mut buf);
        let (kind, probe, third) = match &header.message {
            Message::Ping(probe) => (0, Some(probe), None),
            Message::Ack(probe) => (1, Some(probe), None),
            Message::PingReq { target, probe_number } => (2, Some(probe_number), Some(target)),
            Message::IndirectPing { origin, probe_number } => (3, Some(probe_number), Some(origin)),
            Message::IndirectAck { target, probe_number } => (4, Some(probe_number), Some(target)),
            Message::ForwardedAck { origin, probe_number } => (5, Some(probe_number), Some(origin)),
            Message::Announce => (6, None, None),
            Message::Feed => (7, None, None),
            Message::Gossip => (8, None, None),
            Message::Broadcast => (9, None, None),
            Message::TurnUndead => (10, None, None),
        };
        buf.put_u8(kind);
        if let Some(probe) = probe {
            buf.put_u8(*probe);
        }
        if let Some(id) = third {
            put_identity(id, &mut buf);
        }
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Identity>, BadPacket> {
        let src = get_identity(&mut buf)?;
        let src_incarnation = get_incarnation(&mut buf)?;
        let dst = get_identity(&mut buf)?;
        let kind = buf.try_get_u8().map_err(|_| BadPacket::Short)?;
        let probe_number = if kind <= 5 { buf.try_get_u8().map_err(|_| BadPacket::Short)? } else { 0 };
        let message = match kind {
            0 => Message::Ping(probe_number),
            1 => Message::Ack(probe_number),
            2 => Message::PingReq { target: get_identity(&mut buf)?, probe_number },
            3 => Message::IndirectPing { origin: get_identity(&mut buf)?, probe_number },
            4 => Message::IndirectAck { target: get_identity(&mut buf)?, probe_number },
            5 => Message::ForwardedAck { origin: get_identity(&mut buf)?, probe_number },
            6 => Message::Announce,
            7 => Message::Feed,
            8 => Message::Gossip,
            9 => Message::Broadcast,
            10 => Message::TurnUndead,
            _ => return Err(BadPacket::Unknown),
        };
        Ok(Header { src, src_incarnation, dst, message })
    }

    fn encode_member(&mut self, member: &Member<Identity>, mut buf: impl BufMut) -> Result<(), BadPacket> {
        if buf.remaining_mut() < MEMBER {
            return Err(BadPacket::NoRoom);
        }
        put_identity(member.id(), &mut buf);
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Identity>, BadPacket> {
        let id = get_identity(&mut buf)?;
        let incarnation = get_incarnation(&mut buf)?;
        let state = match buf.try_get_u8() {
            Ok(0) => State::Alive,
            Ok(1) => State::Suspect,
            Ok(2) => State::Down,
            Ok(_) => return Err(BadPacket::Unknown),
            Err(_) => return Err(BadPacket::Short),
        };
        Ok(Member::new(id, incarnation, state))
    }
}

/// A packet, read.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) header: Header<Identity>,
    pub(crate) updates: Vec<Member<Identity>>,
}

impl Packet {
    /// Reads all of `bytes`, whose size was checked.
    pub(crate) fn read(mut bytes: &[u8]) -> Result<Self, BadPacket> {
        let header = Layout.decode_header(&mut bytes)?;
        let mut updates = Vec::new();
        if !bytes.is_empty() {
            let count = bytes.try_get_u16().map_err(|_| BadPacket::Short)?;
            for _ in 0..count {
                updates.push(Layout.decode_member(&mut bytes)?);
            }
        }
        if bytes.is_empty() { Ok(Self { header, updates }) } else { Err(BadPacket::Trailing) }
    }

    /// Whom the message itself speaks of, beside its sender and receiver, when foca would write to them.
    pub(crate) const fn third(&self) -> Option<Identity> {
        match self.header.message {
            Message::PingReq { target, .. } | Message::IndirectAck { target, .. } => Some(target),
            _ => None,
        }
    }

    pub(crate) fn write(&self) -> Result<Bytes, BadPacket> {
        let mut bytes = Vec::new();
        Layout.encode_header(&self.header, &mut bytes)?;
        if !matches!(self.header.message, Message::Announce | Message::TurnUndead | Message::Broadcast) {
            bytes.put_u16(u16::try_from(self.updates.len()).map_err(|_| BadPacket::NoRoom)?);
            for update in &self.updates {
                Layout.encode_member(update, &mut bytes)?;
            }
        }
        Ok(bytes.into())
    }
}
