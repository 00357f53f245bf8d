//! Attention: heads are normed, rotated, quantised and stored, then each query row reads its past.
//!
//! A step's rows belong to segments, one a sequence. Scores and weighted sums are exact integers, so
//! tiles, pages and the order of segments cannot change a bit (`docs/spec/int-1.md`, sections 6, 7).
//!
//! Invariants:
//! - A row reads only its own sequence: positions up to its own within the layer's window, or, in an
//!   encoder's layer, all.
//!
//! Not here: the projections around it (`forward`).
#![expect(unsafe_code, reason = "threads write disjoint positions of pages and heads of rows")]

use alloc::vec::Vec;
use core::ops::Range;

use super::element::{self, SoftmaxRow};
use super::rows::{Disjoint, Rows, room};
use super::{Isa, Pool, scalar};
use crate::kv::{KvPages, PAGE};
use crate::numeric::{KEY_MAX, Scale, VALUE_MAX};

/// Query rows that share one pass over the keys, about.
const TILE_ROWS: usize = 16;
/// Positions whose weighted values surely fit 32 bits: 32,767 * 127 * 512 < 2^31; in pages.
const RUN_PAGES: usize = 512 / PAGE;

/// Rows of one sequence in a step.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    /// The sequence's pages, enough for its last position.
    pub pages: &'a [u32],
    /// Position of the first row.
    pub position: usize,
    /// Its rows in the step.
    pub rows: Range<usize>,
}

/// One layer's attention.
#[derive(Debug)]
pub struct Layer<'a> {
    /// Which layer, for the pages.
    pub layer: usize,
    /// Query heads.
    pub heads: usize,
    /// Positions that a row sees, or `None` for all.
    pub window: Option<usize>,
    /// Whether a row sees the positions after its own too, as an encoder's do; then there is no window.
    pub whole: bool,
    /// `Config::score_scale`.
    pub score_scale: u64,
    /// Norms of the query and key heads, if the family has them.
    pub head_norms: Option<[HeadNorm<'a>; 2]>,
    /// Cosines and sines, Q30, `[rows][head_size / 2]` each.
    pub rotation: (&'a [i32], &'a [i32]),
}

/// A norm of one head.
#[derive(Clone, Copy, Debug)]
pub struct HeadNorm<'a> {
    /// Weights, `[head_size]`.
    pub weights: &'a [i32],
    /// Their exponent.
    pub exponent: i32,
    /// Norm's epsilon, Q56.
    pub epsilon: u64,
}

/// Rows of projections, Q16: `[rows][stride]` with whole heads first in each row.
#[derive(Debug)]
pub struct Projected<'a> {
    /// Queries.
    pub query: &'a mut [i32],
    /// Keys.
    pub key: &'a mut [i32],
    /// Values.
    pub value: &'a mut [i32],
    /// Elements of a row of queries and of keys and values, padding included.
    pub strides: (usize, usize),
    /// Result, Q16, `[rows][heads * head_size]`.
    pub out: &'a mut [i32],
}

/// Memory that a step's attention needs, kept between steps.
#[derive(Debug, Default)]
pub struct AttentionMemory {
    /// Quantised queries, `[key head][rows][group][head_size]`.
    queries: Vec<i16>,
    /// Their score scales, `[key head][rows][group]`.
    query_scales: Vec<Scale>,
}

/// Memory of one thread.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    scores: Vec<i32>,
    weights: Vec<i16>,
    sums: Vec<i64>,
    key_scales: Vec<i32>,
    value_scales: Vec<i32>,
    head: Vec<i16>,
    terms: Vec<i64>,
    ends: Vec<(u64, u32)>,
}

/// Norms a head in place: its terms over their root mean square, Q16 to Q16.
pub fn norm_head(isa: Isa, norm: HeadNorm<'_>, terms: &mut Vec<i64>, head: &mut [i32]) {
    let terms = room(terms, head.len());
    let (sum, shift) = element::norm_terms(isa, head, norm.weights, terms);
    let rms = root_mean_square((sum, shift), head.len(), 16, norm.epsilon);
    element::rescale(isa, terms, inverse(rms), norm.exponent, head);
}

/// The root of the mean square of `count` numbers of `fraction` bits plus epsilon, Q28
/// (`docs/spec/int-1.md`, section 4.1).
#[must_use]
pub fn root_mean_square(
    (sum, shift): (u64, u32),
    count: usize,
    fraction: u32,
    epsilon: u64,
) -> u64 {
    // sum < 2^62 and shift <= 9, so the shifted sum stays below 2^62 * 2^18 * 2^48.
    let squares = u128::from(sum) << (2 * shift + 56 - 2 * fraction);
    (squares / count as u128 + u128::from(epsilon)).isqrt() as u64
}

/// One over a root mean square in Q28.
#[must_use]
pub fn inverse(rms: u64) -> Scale {
    let value = Scale::new((1u128 << 92) / u128::from(rms), 92, 31);
    Scale { mantissa: value.mantissa, exponent: value.exponent - 28 }
}

/// What every item of the job reads.
struct Shared<'a> {
    isa: Isa,
    layer: &'a Layer<'a>,
    head_size: usize,
    group: usize,
    rows: usize,
    strides: (usize, usize),
    query: Rows<'a, i32>,
    key: Rows<'a, i32>,
    value: Rows<'a, i32>,
    out: Rows<'a, i32>,
    queries: Rows<'a, i16>,
    query_scales: Rows<'a, Scale>,
    pages: Pages<'a>,
}

/// The pages of one layer.
struct Pages<'a> {
    keys: Rows<'a, i16>,
    values: Rows<'a, i8>,
    key_scales: Rows<'a, i32>,
    value_scales: Rows<'a, i32>,
    /// Heads from one page to the next.
    stride: usize,
    /// Heads before this layer's first.
    base: usize,
}

/// Tokens of one segment and one key head.
#[derive(Clone, Copy)]
struct Item {
    segment: usize,
    head: usize,
    from: usize,
    to: usize,
}

/// Computes one layer's attention for the rows of all segments.
///
/// # Panics
/// When a buffer is smaller than the rows need: the caller's own mistake.
pub fn attend(
    (isa, pool): (Isa, &mut Pool),
    scratch: &mut [AttentionScratch],
    memory: &mut AttentionMemory,
    kv: &mut KvPages,
    layer: &Layer<'_>,
    segments: &[Segment<'_>],
    projected: Projected<'_>,
) {
    let rows = segments.iter().map(|segment| segment.rows.end).max().unwrap_or(0);
    check(kv, layer, segments, &projected, rows);
    let shape = kv.shape;
    memory.queries.resize(rows * layer.heads * shape.head_size, 0);
    memory.query_scales.resize(rows * layer.heads, Scale::default());
    let page = PAGE * shape.head_size;
    let shared = Shared {
        isa,
        layer,
        head_size: shape.head_size,
        group: layer.heads / shape.heads,
        rows,
        strides: projected.strides,
        query: Rows::new(projected.query, 1),
        key: Rows::new(projected.key, 1),
        value: Rows::new(projected.value, 1),
        out: Rows::new(projected.out, 1),
        queries: Rows::new(&mut memory.queries, 1),
        query_scales: Rows::new(&mut memory.query_scales, 1),
        pages: Pages {
            keys: Rows::new(&mut kv.keys, page),
            values: Rows::new(&mut kv.values, page),
            key_scales: Rows::new(&mut kv.key_scales, PAGE),
            value_scales: Rows::new(&mut kv.value_scales, PAGE),
            stride: shape.slots(),
            base: layer.layer * shape.heads,
        },
    };
    let tile = (TILE_ROWS / shared.group).max(1);
    let items = items(segments, shape.heads, tile);
    let scratch = Rows::new(scratch, 1);
    let run = |store: bool, attend: bool| {
        move |item: Item,
              segment: &Segment<'_>,
              shared: &Shared<'_>,
              scratch: &mut AttentionScratch| {
            // SAFETY: items are disjoint in (row, head), and the pages of a segment hold its rows.
            unsafe {
                if store {
                    (item.from..item.to)
                        .for_each(|row| shared.store(segment, item.head, row, scratch));
                }
                if attend {
                    shared.attend(segment, item, scratch);
                }
            }
        }
    };
    // A single new position of a sequence is stored and read by one item; longer segments must be
    // stored whole before any of their rows reads.
    let single = |item: &Item| segments[item.segment].rows.len() == 1;
    let mut pass = |only_long: bool| {
        let (store_now, attend_now) = (run(true, false), run(false, true));
        pool.run(items.len(), &|index, thread| {
            let item = items[index];
            let segment = &segments[item.segment];
            // SAFETY: no two items run at one time on one thread.
            let [scratch] = (unsafe { scratch.piece(thread) }) else { return };
            if only_long && !single(&item) {
                store_now(item, segment, &shared, scratch);
            } else if !only_long {
                if single(&item) {
                    store_now(item, segment, &shared, scratch);
                }
                attend_now(item, segment, &shared, scratch);
            }
        });
    };
    if items.iter().any(|item| !single(item)) {
        pass(true);
    }
    pass(false);
}

fn check(
    kv: &KvPages,
    layer: &Layer<'_>,
    segments: &[Segment<'_>],
    projected: &Projected<'_>,
    rows: usize,
) {
    let shape = kv.shape;
    let (query_width, kv_width) = (layer.heads * shape.head_size, shape.heads * shape.head_size);
    let (query_stride, kv_stride) = projected.strides;
    assert!(query_stride >= query_width && kv_stride >= kv_width, "rows hold whole heads");
    assert!(projected.query.len() >= rows * query_stride, "room for queries");
    assert!(projected.key.len().min(projected.value.len()) >= rows * kv_stride, "room for keys");
    assert!(projected.out.len() >= rows * query_width, "room for results");
    assert!(layer.rotation.0.len() >= rows * shape.head_size / 2, "a rotation for each row");
    assert!(!layer.whole || layer.window.is_none(), "a window ends at the row");
    for segment in segments {
        let last = segment.position + segment.rows.len();
        assert!(segment.pages.len() * PAGE >= last, "a page for each position");
        assert!(segment.pages.iter().all(|&page| (page as usize) < kv.count()), "pages exist");
    }
}

fn items(segments: &[Segment<'_>], heads: usize, tile: usize) -> Vec<Item> {
    let mut items = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        for from in segment.rows.clone().step_by(tile) {
            let to = segment.rows.end.min(from + tile);
            items.extend((0..heads).map(|head| Item { segment: index, head, from, to }));
        }
    }
    items
}

impl Shared<'_> {
    /// A piece of a buffer from `at`, which this item alone touches.
    ///
    /// # Safety
    /// The range must lie in the buffer and belong to this item.
    #[expect(clippy::mut_from_ref, reason = "the cutter hands out disjoint pieces")]
    unsafe fn piece<'b, T>(buffer: &'b Rows<'_, T>, at: usize, size: usize) -> &'b mut [T] {
        // SAFETY: by this function's own contract.
        unsafe { core::slice::from_raw_parts_mut(buffer.start().add(at), size) }
    }

    /// Norms, rotates and quantises row `row`'s heads of key head `head`; stores key and value.
    unsafe fn store(
        &self,
        segment: &Segment<'_>,
        head: usize,
        row: usize,
        scratch: &mut AttentionScratch,
    ) {
        let size = self.head_size;
        let position = segment.position + row - segment.rows.start;
        let page = segment.pages[position / PAGE] as usize;
        let slot = page * self.pages.stride + self.pages.base + head;
        room(&mut scratch.head, size);
        // SAFETY: this item alone has this row and head, and this position of its page.
        unsafe {
            let key = Self::piece(&self.key, row * self.strides.1 + head * size, size);
            self.turn(row, key, 1, &mut scratch.terms);
            let largest = element::quantise_head(self.isa, key, KEY_MAX, 11, &mut scratch.head);
            let at = slot * PAGE + position % PAGE;
            *self.pages.key_scales.start().add(at) = largest;
            let keys = self.pages.keys.start().add(slot * PAGE * size + position % PAGE * 2);
            for (pair, elements) in scratch.head.chunks_exact(2).enumerate() {
                *keys.add(pair * 32) = elements[0];
                *keys.add(pair * 32 + 1) = elements[1];
            }
            let value = Self::piece(&self.value, row * self.strides.1 + head * size, size);
            let largest = element::quantise_head(self.isa, value, VALUE_MAX, 7, &mut scratch.head);
            *self.pages.value_scales.start().add(at) = largest;
            let start = slot * PAGE * size + position % PAGE / 2 * 2 * size + position % 2;
            let values = self.pages.values.start().add(start);
            for (element, &quantised) in scratch.head.iter().enumerate() {
                *values.add(element * 2) = quantised as i8;
            }
            for member in 0..self.group {
                self.store_query(row, head, member, scratch);
            }
        }
    }

    unsafe fn store_query(
        &self,
        row: usize,
        head: usize,
        member: usize,
        scratch: &mut AttentionScratch,
    ) {
        let size = self.head_size;
        let index = (head * self.rows + row) * self.group + member;
        // SAFETY: this item alone has this row and these heads.
        unsafe {
            let at = row * self.strides.0 + (head * self.group + member) * size;
            let query = Self::piece(&self.query, at, size);
            self.turn(row, query, 0, &mut scratch.terms);
            let out = Self::piece(&self.queries, index * size, size);
            let largest = element::quantise_head(self.isa, query, KEY_MAX, 11, out);
            let product = largest as u128 * u128::from(self.layer.score_scale);
            let scale = Scale::new(product, 60, 16);
            *self.query_scales.start().add(index) =
                Scale { mantissa: scale.mantissa, exponent: scale.exponent.clamp(1, 62) };
        }
    }

    /// Norms (which: 0 query, 1 key) and rotates one head.
    fn turn(&self, row: usize, head: &mut [i32], which: usize, terms: &mut Vec<i64>) {
        if let Some(norms) = &self.layer.head_norms {
            norm_head(self.isa, norms[which], terms, head);
        }
        let half = self.head_size / 2;
        let (cos, sin) = self.layer.rotation;
        element::rotate(self.isa, head, &cos[row * half..][..half], &sin[row * half..][..half]);
    }

    /// Scores, weights and weighted sums of an item's rows.
    unsafe fn attend(&self, segment: &Segment<'_>, item: Item, scratch: &mut AttentionScratch) {
        let position = |row: usize| segment.position + row - segment.rows.start;
        let window = self.layer.window.unwrap_or(usize::MAX);
        let first = |row: usize| (position(row) + 1).saturating_sub(window);
        let end = |row: usize| match self.layer.whole {
            true => segment.position + segment.rows.len(),
            false => position(row) + 1,
        };
        let page_from = first(item.from) / PAGE;
        let pages = &segment.pages[page_from..end(item.to - 1).div_ceil(PAGE)];
        let (rows, size) = ((item.to - item.from) * self.group, self.head_size);
        let width = pages.len() * PAGE;
        room(&mut scratch.scores, rows * width);
        room(&mut scratch.weights, rows * width);
        scratch.sums.clear();
        scratch.sums.resize(rows * size, 0);
        let start = (item.head * self.rows + item.from) * self.group;
        // SAFETY: these queries were stored by this job's earlier pass or by this item.
        let queries = unsafe { Self::piece(&self.queries, start * size, rows * size) };
        self.gather_scales(pages, item.head, scratch);
        self.score(queries, pages, item.head, (&mut scratch.scores, width));
        scratch.ends.clear();
        for row in 0..rows {
            let token = item.from + row / self.group;
            // SAFETY: as for the queries.
            let scale = unsafe { *self.query_scales.start().add(start + row) };
            let seen = SoftmaxRow {
                from: first(token) - page_from * PAGE,
                to: end(token) - page_from * PAGE,
                mantissa: scale.mantissa,
                exponent: scale.exponent as u32,
            };
            let end = element::softmax(
                self.isa,
                seen,
                &mut scratch.scores[row * width..][..width],
                &scratch.key_scales,
                &scratch.value_scales,
                &mut scratch.weights[row * width..][..width],
            );
            scratch.ends.push(end);
        }
        self.weigh((&scratch.weights, width), pages, item.head, (&mut scratch.sums, size));
        for row in 0..rows {
            let at = (item.from + row / self.group) * self.layer.heads * size
                + (item.head * self.group + row % self.group) * size;
            // SAFETY: this item alone has these rows' heads.
            let out = unsafe { Self::piece(&self.out, at, size) };
            let (total, length) = scratch.ends[row];
            element::finish_head(self.isa, &scratch.sums[row * size..][..size], total, length, out);
        }
    }

    /// Brings the scales of the pages' positions together.
    fn gather_scales(&self, pages: &[u32], head: usize, scratch: &mut AttentionScratch) {
        scratch.key_scales.clear();
        scratch.value_scales.clear();
        for &page in pages {
            let slot = page as usize * self.pages.stride + self.pages.base + head;
            // SAFETY: the page exists; its positions up to the item's rows are stored, and others
            // are never read for their value.
            let (keys, values) = unsafe {
                (
                    core::slice::from_raw_parts(
                        self.pages.key_scales.start().add(slot * PAGE),
                        PAGE,
                    ),
                    core::slice::from_raw_parts(
                        self.pages.value_scales.start().add(slot * PAGE),
                        PAGE,
                    ),
                )
            };
            scratch.key_scales.extend_from_slice(keys);
            scratch.value_scales.extend_from_slice(values);
        }
    }

    /// Scores of all rows against all positions of the pages.
    fn score(
        &self,
        queries: &[i16],
        pages: &[u32],
        head: usize,
        (out, width): (&mut [i32], usize),
    ) {
        let size = self.head_size;
        let base = (self.pages.base + head) * PAGE * size;
        // SAFETY: the layer's head lies inside the first page.
        let keys = unsafe { self.pages.keys.start().add(base).cast_const() };
        let page_stride = self.pages.stride * PAGE * size;
        let rows = queries.len() / size;
        let mut row = 0;
        while row < rows {
            let queries = &queries[row * size..];
            let out = &mut out[row * width..];
            let count = rows_at_once(rows - row);
            self.score_rows(count, (queries, size), (keys, page_stride), pages, (out, width));
            row += self.step(count);
        }
    }

    fn score_rows(
        &self,
        count: usize,
        (queries, size): (&[i16], usize),
        keys: (*const i16, usize),
        pages: &[u32],
        (out, width): (&mut [i32], usize),
    ) {
        #[cfg(target_arch = "x86_64")]
        {
            use super::{avx2, avx512};
            let (query, target) = (queries.as_ptr(), (out.as_mut_ptr(), width));
            // SAFETY: `count` rows of queries and scores and every page named lie in the buffers, and
            // the instruction set is here.
            unsafe {
                match (self.isa, count) {
                    (Isa::Avx512, 8) => {
                        return avx512::scores::<8>(query, size, keys, pages, target);
                    }
                    (Isa::Avx512, 4) => {
                        return avx512::scores::<4>(query, size, keys, pages, target);
                    }
                    (Isa::Avx512, 3) => {
                        return avx512::scores::<3>(query, size, keys, pages, target);
                    }
                    (Isa::Avx512, 2) => {
                        return avx512::scores::<2>(query, size, keys, pages, target);
                    }
                    (Isa::Avx512, _) => {
                        return avx512::scores::<1>(query, size, keys, pages, target);
                    }
                    (Isa::Avx2, 4..) => return avx2::scores::<4>(query, size, keys, pages, target),
                    (Isa::Avx2, 3) => return avx2::scores::<3>(query, size, keys, pages, target),
                    (Isa::Avx2, 2) => return avx2::scores::<2>(query, size, keys, pages, target),
                    (Isa::Avx2, _) => return avx2::scores::<1>(query, size, keys, pages, target),
                    _ => {}
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        if self.isa == Isa::Neon {
            use super::neon::scores;
            let (query, target) = (queries.as_ptr(), (out.as_mut_ptr(), width));
            // SAFETY: as above, and head sizes are multiples of sixteen.
            return unsafe {
                match count {
                    4.. => scores::<4>(query, size, keys, pages, target),
                    3 => scores::<3>(query, size, keys, pages, target),
                    2 => scores::<2>(query, size, keys, pages, target),
                    _ => scores::<1>(query, size, keys, pages, target),
                }
            };
        }
        let _ = (count, width);
        for (&page, out) in pages.iter().zip(out.chunks_exact_mut(PAGE)) {
            // SAFETY: the page exists.
            let page = unsafe {
                core::slice::from_raw_parts(keys.0.add(page as usize * keys.1), PAGE * size)
            };
            scalar::scores(&queries[..size], page, out);
        }
    }

    /// Sums of the pages' values times the weights of all rows.
    fn weigh(
        &self,
        (weights, width): (&[i16], usize),
        pages: &[u32],
        head: usize,
        (out, size): (&mut [i64], usize),
    ) {
        let base = (self.pages.base + head) * PAGE * size;
        // SAFETY: the layer's head lies inside the first page.
        let values = unsafe { self.pages.values.start().add(base).cast_const() };
        let page_stride = self.pages.stride * PAGE * size;
        let rows = out.len() / size;
        let mut row = 0;
        while row < rows {
            let count = rows_at_once(rows - row);
            for (run, pages) in pages.chunks(RUN_PAGES).enumerate() {
                let weights = &weights[row * width + run * RUN_PAGES * PAGE..];
                self.weigh_run(
                    count,
                    (weights, width),
                    (values, page_stride),
                    pages,
                    (&mut out[row * size..], size),
                );
            }
            row += self.step(count);
        }
    }

    fn weigh_run(
        &self,
        count: usize,
        (weights, width): (&[i16], usize),
        (values, page_stride): (*const i8, usize),
        pages: &[u32],
        (out, size): (&mut [i64], usize),
    ) {
        if self.isa == Isa::Scalar || self.isa == Isa::Simd128 {
            for (index, &page) in pages.iter().enumerate() {
                // SAFETY: the page exists.
                let values = unsafe {
                    core::slice::from_raw_parts(
                        values.add(page as usize * page_stride),
                        PAGE * size,
                    )
                };
                scalar::weighted(&weights[index * PAGE..][..PAGE], values, &mut out[..size]);
            }
            return;
        }
        #[cfg(target_arch = "x86_64")]
        for part in (0..size).step_by(16) {
            let weights = (weights.as_ptr(), width);
            // SAFETY: `count` rows of weights and sums and every page named lie in the buffers.
            unsafe {
                let values = (values.add(part * 2), page_stride);
                let out = (out.as_mut_ptr().add(part), size);
                match (self.isa, count) {
                    (Isa::Avx512, 8) => {
                        super::avx512::weighted::<8>(weights, values, size, pages, out)
                    }
                    (Isa::Avx512, 4) => {
                        super::avx512::weighted::<4>(weights, values, size, pages, out)
                    }
                    (Isa::Avx512, 3) => {
                        super::avx512::weighted::<3>(weights, values, size, pages, out)
                    }
                    (Isa::Avx512, 2) => {
                        super::avx512::weighted::<2>(weights, values, size, pages, out)
                    }
                    (Isa::Avx512, _) => {
                        super::avx512::weighted::<1>(weights, values, size, pages, out)
                    }
                    (_, 4..) => super::avx2::weighted::<4>(weights, values, size, pages, out),
                    (_, 3) => super::avx2::weighted::<3>(weights, values, size, pages, out),
                    (_, 2) => super::avx2::weighted::<2>(weights, values, size, pages, out),
                    (_, _) => super::avx2::weighted::<1>(weights, values, size, pages, out),
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        for part in (0..size).step_by(16) {
            use super::neon::weighted;
            let weights = (weights.as_ptr(), width);
            // SAFETY: as above.
            unsafe {
                let values = (values.add(part * 2), page_stride);
                let out = (out.as_mut_ptr().add(part), size);
                match count {
                    4.. => weighted::<4>(weights, values, size, pages, out),
                    3 => weighted::<3>(weights, values, size, pages, out),
                    2 => weighted::<2>(weights, values, size, pages, out),
                    _ => weighted::<1>(weights, values, size, pages, out),
                }
            }
        }
        let _ = (count, width);
    }

    /// Rows that a kernel call for `count` rows really does.
    fn step(&self, count: usize) -> usize {
        match self.isa {
            Isa::Avx512 => count,
            Isa::Avx2 | Isa::Neon => count.min(4),
            Isa::Scalar | Isa::Simd128 => 1,
        }
    }
}

/// Rows for one kernel call when `left` remain.
fn rows_at_once(left: usize) -> usize {
    match left {
        8.. => 8,
        4..8 => 4,
        other => other,
    }
}
