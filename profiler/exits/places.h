/* Where the programs in the kernel have threads and rows: in arrays, whose places hash maps know
 * and queues give; what counting.h asks for. Whoever includes this has these maps (exits.bpf.c says
 * what each is), BPF's helpers or what stands for them, and counting.h. May also be used under the
 * GPL, version 2, as that.
 *
 * Programs run on all CPUs at once. What was found last is only a guess, which the key in the entry
 * proves; the hash maps decide who has added what.
 */
#ifndef KVMPROFS_EXITS_PLACES_H
#define KVMPROFS_EXITS_PLACES_H

/* ---- threads ------------------------------------------------------------------------------- */

static __always_inline __u32 *number_of(__u32 tid)
{
	return &numbers[tid % EXITS_NUMBERS];
}

static __always_inline struct exits_thread *thread_at(__u32 place)
{
	return bpf_map_lookup_elem(&threads, &place);
}

/* Two threads with the same low bits would take the place of each other for ever: the one that is
 * there stays until it is forgotten. */
static __always_inline void remember_thread(__u32 tid, __u32 place)
{
	__u32 *number = number_of(tid);
	struct exits_thread *t = thread_at(*number);

	if (!t)
		return;
	if (*number == 0 || t->tid == 0 || (t->tid ^ tid) % EXITS_NUMBERS)
		*number = place;
}

/* What a hash map has said needs the proof, too: the kernel uses what is removed there again at
 * once, for other keys. */
static __noinline struct exits_thread *search_thread(__u32 tid)
{
	__u32 key = tid, *place = bpf_map_lookup_elem(&thread_places, &key), at;
	struct exits_thread *t;

	if (!place)
		return 0;
	at = *place;
	t = thread_at(at);
	if (!t || t->tid != tid)
		return 0;
	remember_thread(tid, at);
	return t;
}

static __always_inline struct exits_thread *find_thread(__u32 tid)
{
	__u32 *number = number_of(tid);
	struct exits_thread *t;

	if (tid == EXITS_KERNEL)
		return thread_at(0);
	if (*number == 0)
		return 0;
	t = thread_at(*number);
	return t && t->tid == tid ? t : search_thread(tid);
}

/* Whole before others can find it. */
static __always_inline struct exits_thread *begin_at(__u32 place, __u32 tid, __u32 tgid, __u32 vcpu)
{
	__u32 zero = 0;
	struct exits_thread_place *empty = bpf_map_lookup_elem(&empty_thread, &zero);
	struct exits_thread *t;

	if (empty)
		bpf_map_update_elem(&threads, &place, empty, BPF_ANY);
	t = thread_at(place);
	if (t)
		begin_thread(t, tid, tgid, vcpu);
	return t;
}

static __noinline struct exits_thread *add_thread(__u32 tid, __u32 tgid, __u32 vcpu)
{
	__u32 key = tid, place = 0, *known = bpf_map_lookup_elem(&thread_places, &key);
	struct exits_thread *old = known ? thread_at(*known) : 0, *t;

	if (old && old->tid == tid && old->tgid == tgid) {
		remember_thread(tid, *known);
		return old;
	}
	if (bpf_map_pop_elem(&free_threads, &place))
		return 0;
	t = begin_at(place, tid, tgid, vcpu);
	if (bpf_map_update_elem(&thread_places, &key, &place, known ? BPF_ANY : BPF_NOEXIST)) {
		if (t)
			t->tgid = t->tid = 0;
		bpf_map_push_elem(&free_threads, &place, 0);
		return search_thread(tid);
	}
	if (old && old->tid == tid)
		give_up_number(old);
	remember_thread(tid, place);
	return t;
}

/* ---- rows ---------------------------------------------------------------------------------- */

static __always_inline __u32 *recent_of(struct exits_thread *t, __u32 kind, __u64 what, __u32 more)
{
	__u32 slot = (__u32)(what ^ what >> 3 ^ what >> 12) ^ more;

	slot = kind * EXITS_RECENT + slot % EXITS_RECENT;
	/* The verifier is to see that it is inside. */
	asm volatile("" : "+r"(slot));
	slot &= EXITS_KINDS * EXITS_RECENT - 1;
	return &((struct exits_thread_place *)t)->recent[slot];
}

static __always_inline int is_row_of(const struct exits_row_place *r, const struct exits_thread *t,
				     __u32 kind, __u64 what, __u32 more, __u32 tid)
{
	return r->key.what == what && r->key.more == more && r->key.kind == kind &&
	       r->key.tgid == t->tgid && r->key.tid == tid;
}

static __noinline struct exits_row *search_row(struct exits_thread *t, __u32 kind, __u64 what,
					       __u32 more, __u32 tid)
{
	struct exits_key key = {.what = what, .more = more, .kind = kind, .tid = tid};
	struct exits_row_place *r;
	__u32 *place, at;

	if (!t)
		return 0;
	key.tgid = t->tgid;
	place = bpf_map_lookup_elem(&row_places, &key);
	if (!place)
		return 0;
	at = *place;
	r = bpf_map_lookup_elem(&rows, &at);
	if (!r || !is_row_of(r, t, kind, what, more, tid))
		return 0;
	*recent_of(t, kind, what, more) = at;
	return &r->row;
}

static __always_inline struct exits_row *find_row(struct exits_thread *t, __u32 kind, __u64 what,
						  __u32 more, __u32 tid)
{
	__u32 place = *recent_of(t, kind, what, more);
	struct exits_row_place *r = bpf_map_lookup_elem(&rows, &place);

	if (r && is_row_of(r, t, kind, what, more, tid))
		return &r->row;
	return search_row(t, kind, what, more, tid);
}

/* After what is in the row, before what others find it by. */
static __always_inline void set_owner(__u32 place, __u32 tgid)
{
	__u64 *owner = bpf_map_lookup_elem(&row_owners, &place);

	IN_ORDER();
	if (owner)
		*owner = tgid;
}

static __noinline long add_row(const struct exits_key *key)
{
	__u32 zero = 0, place = 0;
	struct exits_row_place *r = bpf_map_lookup_elem(&empty_row, &zero);

	if (!r || !key || bpf_map_pop_elem(&free_rows, &place))
		return -1;
	bpf_map_update_elem(&rows, &place, r, BPF_ANY);
	r = bpf_map_lookup_elem(&rows, &place);
	if (!r)
		return -1;
	r->key = *key;
	set_owner(place, key->tgid);
	if (bpf_map_update_elem(&row_places, key, &place, BPF_NOEXIST) == 0)
		return 0;
	set_owner(place, 0);
	r->key.tgid = 0;
	bpf_map_push_elem(&free_rows, &place, 0);
	return -1;
}

#endif
