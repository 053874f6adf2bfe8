//! What an instruction does, as an enum.
//!
//! The numbers are those of `linux/bpf_common.h` and `linux/filter.h`.

/// How many bytes a load takes from the packet; they are big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Size {
    /// Four bytes.
    Word = 0x00,
    /// Two bytes.
    Half = 0x08,
    /// One byte.
    Byte = 0x10,
}

impl Size {
    pub(super) const ALL: [Self; 3] = [Self::Word, Self::Half, Self::Byte];
}

/// The right-hand side of an arithmetic operation or a comparison; the left-hand side is `A`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A number in the instruction.
    Constant(u32),
    /// The index register.
    X,
}

/// Arithmetic on `A`, wrapping at 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Alu {
    /// `A + operand`
    Add = 0x00,
    /// `A - operand`
    Subtract = 0x10,
    /// `A * operand`
    Multiply = 0x20,
    /// `A / operand`; a zero `X` ends the program and drops the packet.
    Divide = 0x30,
    /// `A % operand`; a zero `X` ends the program and drops the packet.
    Modulo = 0x90,
    /// `A & operand`
    And = 0x50,
    /// `A | operand`
    Or = 0x40,
    /// `A ^ operand`
    Xor = 0xa0,
    /// `A << operand`, of which the lowest five bits count.
    ShiftLeft = 0x60,
    /// `A >> operand`, of which the lowest five bits count.
    ShiftRight = 0x70,
}

impl Alu {
    pub(super) const ALL: [Self; 10] = [
        Self::Add,
        Self::Subtract,
        Self::Multiply,
        Self::Divide,
        Self::Modulo,
        Self::And,
        Self::Or,
        Self::Xor,
        Self::ShiftLeft,
        Self::ShiftRight,
    ];
}

/// A comparison of `A`, without sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Test {
    /// `A == operand`
    Equal = 0x10,
    /// `A > operand`
    Greater = 0x20,
    /// `A >= operand`
    GreaterOrEqual = 0x30,
    /// `A & operand != 0`
    AnyBit = 0x40,
}

impl Test {
    pub(super) const ALL: [Self; 4] = [Self::Equal, Self::Greater, Self::GreaterOrEqual, Self::AnyBit];
}

/// What Linux knows about a packet besides its bytes, as the offset that an absolute load asks for it with
/// (`SKF_AD_OFF`): those fields we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Field {
    /// The `EtherType`, whatever the link is (`SKF_AD_PROTOCOL`).
    Protocol = 0xffff_f000,
    /// To whom the packet is addressed: the `PACKET_*` numbers of `linux/if_packet.h` (`SKF_AD_PKTTYPE`).
    PacketType = 0xffff_f004,
}

impl Field {
    pub(super) const ALL: [Self; 2] = [Self::Protocol, Self::PacketType];
}

/// What an [`Instruction`](super::Instruction) does.
///
/// A load that reaches beyond the packet's end ends the program and drops the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `A` = the bytes at an offset of the packet.
    LoadAbsolute(Size, u32),
    /// `A` = the bytes at `X` plus an offset, wrapping.
    LoadIndirect(Size, u32),
    /// `A` = what the kernel knows about the packet.
    LoadField(Field),
    /// `A` = a number.
    LoadImmediate(u32),
    /// `A` = the packet's length.
    LoadLength,
    /// `A` = a memory cell.
    LoadMemory(u32),
    /// `X` = a number.
    LoadXImmediate(u32),
    /// `X` = the packet's length.
    LoadXLength,
    /// `X` = a memory cell.
    LoadXMemory(u32),
    /// `X` = four times the low half of the byte at an offset: the length of an IPv4 header there.
    LoadXHeaderLength(u32),
    /// A memory cell = `A`.
    Store(u32),
    /// A memory cell = `X`.
    StoreX(u32),
    /// `A` = the result.
    Alu(Alu, Operand),
    /// `A` = `-A`
    Negate,
    /// Skips a number of instructions.
    Jump(u32),
    /// Skips one of two numbers of instructions.
    JumpIf {
        /// How `A` is compared.
        test: Test,
        /// With what.
        operand: Operand,
        /// How many to skip when the test holds.
        then: u8,
        /// How many to skip when it does not.
        otherwise: u8,
    },
    /// Ends the program: keep this many bytes of the packet.
    ReturnConstant(u32),
    /// Ends the program: keep `A` bytes of the packet.
    ReturnAccumulator,
    /// `X` = `A`
    CopyToX,
    /// `A` = `X`
    CopyFromX,
}
