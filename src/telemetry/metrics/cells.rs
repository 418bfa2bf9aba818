//! Cells: where values are added up, apart for every worker.
//!
//! Problem: one padded cell per worker and series keeps cores apart but costs 128 bytes each, and
//! there are tens of thousands. Here a chunk has one row of cells per worker and a series has the
//! same place in every row: rows are padded, cells are not. A counter so costs 8 bytes a worker.
//!
//! Row 0 belongs to all threads that are no worker (control, tests); they add atomically. A
//! worker's row has one writer, which therefore needs no locked instruction.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Two cache lines: processors fetch them in pairs, so a neighbour in the same pair would still
/// be disturbed.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Line([AtomicU64; CELLS_PER_LINE]);

/// The place of one series in a chunk.
#[derive(Debug, Clone)]
pub(super) struct Cells {
    chunk: Arc<[Line]>,
    /// Lines in a row.
    stride: u32,
    first: u32,
    width: u32,
}

/// Places that are free, by width.
#[derive(Debug, Default)]
pub(super) struct Slots {
    rows: usize,
    free: BTreeMap<usize, Vec<Cells>>,
}

impl Cells {
    /// Adds to a whole number, which wraps.
    #[inline]
    pub(super) fn add(&self, offset: usize, amount: u64) {
        let (row, whose) = self.row();
        row.add(self.place(offset), amount, whose);
    }

    /// Adds to a float.
    #[inline]
    pub(super) fn add_float(&self, offset: usize, amount: f64) {
        let (row, whose) = self.row();
        row.add_float(self.place(offset), amount, whose);
    }

    /// Adds one to a whole number and an amount to a float.
    #[inline]
    pub(super) fn observe(&self, count: usize, sum: usize, amount: f64) {
        let (row, whose) = self.row();
        row.add(self.place(count), 1, whose);
        row.add_float(self.place(sum), amount, whose);
    }

    /// Makes the sum of a float this value. Adds by workers at the same time may be lost in it.
    pub(super) fn set_float(&self, offset: usize, value: f64) {
        let workers: f64 = self.column(offset).skip(1).map(float).sum();
        if let Some(cell) = self.column(offset).next() {
            cell.store((value - workers).to_bits(), Ordering::Relaxed);
        }
    }

    /// The sum of a whole number over all threads.
    pub(super) fn sum(&self, offset: usize) -> u64 {
        self.column(offset).fold(0, |sum, cell| {
            sum.wrapping_add(cell.load(Ordering::Relaxed))
        })
    }

    /// The sum of a float over all threads.
    pub(super) fn sum_float(&self, offset: usize) -> f64 {
        self.column(offset).map(float).sum()
    }

    /// Cells in each row.
    pub(super) fn width(&self) -> usize {
        self.width as usize
    }

    /// Where the calling thread counts.
    #[cfg(test)]
    pub(super) fn address(&self) -> usize {
        let (row, _) = self.row();
        row.cell(self.place(0)).as_ptr().addr()
    }

    /// Where the calling thread counts.
    #[inline]
    fn row(&self) -> (Row<'_>, Whose) {
        let (row, stride) = (ROW.get(), self.stride as usize);
        match self.chunk.get(row * stride..(row + 1) * stride) {
            Some(mine) if row != 0 => (Row(mine), Whose::Mine),
            // A worker beyond the number that the registry was made for counts with the others.
            _ => (Row(&self.chunk[..stride]), Whose::Everyones),
        }
    }

    #[inline]
    fn place(&self, offset: usize) -> usize {
        self.first as usize + offset
    }

    fn column(&self, offset: usize) -> impl Iterator<Item = &AtomicU64> {
        let place = self.first as usize + offset;
        let rows = self.chunk.chunks_exact(self.stride as usize);
        rows.map(move |row| &row[place / CELLS_PER_LINE].0[place % CELLS_PER_LINE])
    }
}

/// The cells of a chunk that a thread counts in.
#[derive(Clone, Copy)]
struct Row<'a>(&'a [Line]);

/// Who else may write to a row at the same time.
#[derive(Clone, Copy)]
enum Whose {
    Mine,
    Everyones,
}

impl<'a> Row<'a> {
    #[inline]
    fn cell(self, place: usize) -> &'a AtomicU64 {
        &self.0[place / CELLS_PER_LINE].0[place % CELLS_PER_LINE]
    }

    #[inline]
    fn add(self, place: usize, amount: u64, whose: Whose) {
        let cell = self.cell(place);
        match whose {
            Whose::Mine => {
                let value = cell.load(Ordering::Relaxed).wrapping_add(amount);
                cell.store(value, Ordering::Relaxed);
            }
            Whose::Everyones => {
                cell.fetch_add(amount, Ordering::Relaxed);
            }
        }
    }

    #[inline]
    fn add_float(self, place: usize, amount: f64, whose: Whose) {
        let cell = self.cell(place);
        let add = |bits| (f64::from_bits(bits) + amount).to_bits();
        match whose {
            Whose::Mine => {
                cell.store(add(cell.load(Ordering::Relaxed)), Ordering::Relaxed);
            }
            Whose::Everyones => update(cell, add),
        }
    }
}

impl Slots {
    /// No places yet; chunks will have a row for each worker and one for everyone else.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            rows: workers + 1,
            free: BTreeMap::new(),
        }
    }

    /// A place of zeroes.
    pub(super) fn take(&mut self, width: usize) -> Cells {
        let rows = self.rows.max(1);
        let free = self.free.entry(width).or_default();
        free.pop().unwrap_or_else(|| {
            *free = chunk(rows, width);
            free.pop().expect("a chunk has room for one place")
        })
    }

    /// Zeroes a place and keeps it for the next series. Nobody may write to it any more.
    pub(super) fn put_back(&mut self, cells: &Cells) {
        for offset in 0..cells.width() {
            for cell in cells.column(offset) {
                cell.store(0, Ordering::Relaxed);
            }
        }
        let free = self.free.entry(cells.width()).or_default();
        free.push(cells.clone());
    }
}

fn chunk(rows: usize, width: usize) -> Vec<Cells> {
    let stride = width.div_ceil(CELLS_PER_LINE).max(LINES_PER_ROW);
    let chunk: Arc<[Line]> = (0..rows * stride).map(|_| Line::default()).collect();
    let places = stride * CELLS_PER_LINE / width;
    let place = |index: usize| Cells {
        chunk: Arc::clone(&chunk),
        stride: narrow(stride),
        first: narrow(index * width),
        width: narrow(width),
    };
    // Taken from the end: the first place is used first.
    (0..places).rev().map(place).collect()
}

fn narrow(value: usize) -> u32 {
    u32::try_from(value).expect("a row is far smaller than four thousand million cells")
}

fn float(cell: &AtomicU64) -> f64 {
    f64::from_bits(cell.load(Ordering::Relaxed))
}

fn update(cell: &AtomicU64, change: impl Fn(u64) -> u64) {
    let mut bits = cell.load(Ordering::Relaxed);
    while let Err(now) =
        cell.compare_exchange_weak(bits, change(bits), Ordering::Relaxed, Ordering::Relaxed)
    {
        bits = now;
    }
}

/// Makes the calling thread the worker with this index (from 0).
///
/// Each worker calls it once, before it serves. Two threads of the same index that count in the
/// same registry would lose counts: a row has one writer.
pub fn set_worker_shard(index: usize) {
    ROW.set(index + 1);
}

thread_local! {
    /// The row of this thread: 0 for everyone who is no worker.
    static ROW: Cell<usize> = const { Cell::new(0) };
}

const CELLS_PER_LINE: usize = 16;

/// 512 bytes a row: large enough that padding is nothing, small enough for a process of few series.
const LINES_PER_ROW: usize = 4;
