//! What holds for all blocks.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::decoder::Decoder;
use super::super::huffman::{self, CODES, LENGTHS, LONGEST, SYMBOLS};
use super::super::{integer, static_table, write_field};
use super::decoded;

/// Huffman code, bit by bit.
fn coded(text: &[u8]) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    for &byte in text {
        let length = LENGTHS[usize::from(byte)];
        let codes = CODES[usize::from(length)];
        let mut same = SYMBOLS[codes.before..].iter();
        let code = codes.first + same.position(|&symbol| symbol == byte).expect("there");
        bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
    }
    let byte = |bits: &[bool]| {
        (0..8).fold(0, |byte, at| {
            byte << 1 | u8::from(*bits.get(at).unwrap_or(&true))
        })
    };
    bits.chunks(8).map(byte).collect()
}

#[test]
fn the_code_is_complete() {
    let all: usize = CODES.iter().map(|codes| codes.count).sum();
    assert_eq!(all, 257);
    let last = CODES[LONGEST as usize];
    assert_eq!(
        last.first + last.count,
        1 << LONGEST,
        "no code is left over"
    );
    assert_eq!(LENGTHS[256], 30);
}

#[test]
fn every_symbol_comes_back() {
    let mut all: Vec<u8> = (0..=u8::MAX).collect();
    for symbol in 0..=u8::MAX {
        for text in [vec![symbol], vec![symbol; 9], vec![b'0', symbol, b'x']] {
            let mut out = Vec::new();
            assert_eq!(huffman::decode(&coded(&text), &mut out), Ok(()));
            assert_eq!(out, text);
        }
    }
    for _ in 0..8 {
        all.rotate_left(31);
        let mut out = Vec::new();
        assert_eq!(huffman::decode(&coded(&all), &mut out), Ok(()));
        assert_eq!(out, all);
    }
}

/// Name and value.
type Owned = (Vec<u8>, Vec<u8>);

/// What an encoder may do.
#[derive(Debug, Clone)]
enum Step {
    /// Both in a table, if this one is there.
    Indexed(usize),
    /// The pattern, a name of a table if this one is there, and whether texts are coded.
    Literal(u8, usize, Vec<u8>, Vec<u8>, bool),
    /// Stands at the start of a block.
    Size(usize),
}

/// The two tables as the RFC draws them.
#[derive(Default)]
struct Model {
    entries: VecDeque<Owned>,
    capacity: usize,
}

impl Model {
    fn field(&self, index: usize) -> Option<Owned> {
        match static_table::field(index) {
            Some((name, value)) => Some((name.to_vec(), value.to_vec())),
            None => self.entries.get(index.checked_sub(62)?).cloned(),
        }
    }

    fn fit(&mut self) {
        let size = |(name, value): &Owned| name.len() + value.len() + 32;
        while self.entries.iter().map(size).sum::<usize>() > self.capacity {
            self.entries.pop_back();
        }
    }

    /// Writes a step and says which field it stands for.
    fn write(&mut self, out: &mut Vec<u8>, step: Step) -> Option<Owned> {
        match step {
            Step::Indexed(index) => {
                let field = self.field(index)?;
                integer::write(out, 0x80, 7, index);
                Some(field)
            }
            Step::Literal(pattern, index, name, value, is_coded) => {
                let prefix = if pattern == 0x40 { 6 } else { 4 };
                let name = if let Some((known, _)) = self.field(index) {
                    integer::write(out, pattern, prefix, index);
                    known
                } else {
                    integer::write(out, pattern, prefix, 0);
                    write_text(out, &name, is_coded);
                    name
                };
                write_text(out, &value, is_coded);
                if pattern == 0x40 {
                    self.entries.push_front((name.clone(), value.clone()));
                    self.fit();
                }
                Some((name, value))
            }
            Step::Size(size) => {
                if out.is_empty() {
                    integer::write(out, 0x20, 5, size);
                    self.capacity = size;
                    self.fit();
                }
                None
            }
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &[u8], is_coded: bool) {
    let (text, pattern) = if is_coded {
        (coded(text), 0x80)
    } else {
        (text.to_vec(), 0)
    };
    integer::write(out, pattern, 7, text.len());
    out.extend(text);
}

fn step() -> impl Strategy<Value = Step> {
    let text = || prop::collection::vec(any::<u8>(), 0..90);
    let pattern = prop_oneof![3 => Just(0x40), 1 => Just(0x10), 1 => Just(0)];
    let index = || prop_oneof![1 => 0..62_usize, 2 => 62..75_usize];
    prop_oneof![
        3 => index().prop_map(Step::Indexed),
        5 => (pattern, index(), text(), text(), any::<bool>()).prop_map(
            |(pattern, index, name, value, coded)| Step::Literal(pattern, index, name, value, coded)
        ),
        1 => (0..=LIMIT).prop_map(Step::Size),
    ]
}

const LIMIT: usize = 700;

proptest! {
    #[test]
    fn a_decoder_is_in_step_with_the_model(
        blocks in prop::collection::vec(prop::collection::vec(step(), 1..12), 1..12),
    ) {
        let mut model = Model { capacity: LIMIT, ..Model::default() };
        let mut decoder = Decoder::new(LIMIT);
        let mut scratch = Vec::new();
        for steps in blocks {
            let mut block = Vec::new();
            let mut expected = Vec::new();
            for step in steps {
                expected.extend(model.write(&mut block, step));
            }
            let mut fields = Vec::new();
            let read = decoder.decode(&block, &mut scratch, |name, value| {
                fields.push((name.to_vec(), value.to_vec()));
            });
            prop_assert_eq!(read, Ok(()));
            prop_assert_eq!(fields, expected);
            prop_assert!(decoder.memory() <= LIMIT + 64 * 12, "{}", decoder.memory());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(blocks in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..200), 1..4,
    )) {
        let mut decoder = Decoder::new(256);
        for block in blocks {
            if decoded(&mut decoder, &block).is_err() {
                break;
            }
            prop_assert!(decoder.table().size() <= 256);
        }
    }

    #[test]
    fn code_comes_back(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut out = Vec::new();
        prop_assert_eq!(huffman::decode(&coded(&text), &mut out), Ok(()));
        prop_assert_eq!(out, text);
    }

    /// There is one way to code a text, so what is read was written so.
    #[test]
    fn any_code_is_read_in_one_way(code in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut out = Vec::new();
        if huffman::decode(&code, &mut out).is_ok() {
            prop_assert_eq!(coded(&out), code);
        }
    }

    #[test]
    fn integers_come_back(number in any::<u32>(), prefix in 1..8_u8, behind in any::<u8>()) {
        let number = usize::try_from(number).expect("64 bits");
        let mut out = Vec::new();
        integer::write(&mut out, 0, prefix, number);
        out.push(behind);
        let mut rest = &out[1..];
        prop_assert_eq!(integer::read(out[0], prefix, &mut rest), Ok(number));
        prop_assert_eq!(rest, &[behind]);
    }

    #[test]
    fn what_we_write_is_read(
        fields in prop::collection::vec(("[a-zA-Z-]{1,40}", "[ -~]{0,200}"), 0..20),
    ) {
        let mut out = Vec::new();
        for (name, value) in &fields {
            write_field(&mut out, name.as_bytes(), value.as_bytes());
        }
        let mut read = Vec::new();
        let mut decoder = Decoder::new(0);
        let result = decoder.decode(&out, &mut Vec::new(), |name, value| {
            read.push((name.to_vec(), value.to_vec()));
        });
        prop_assert_eq!(result, Ok(()));
        let expected: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase().into_bytes(), value.clone().into_bytes()))
            .collect();
        prop_assert_eq!(read, expected);
        prop_assert_eq!(decoder.memory(), 0);
    }
}
