#include "symsrc/memory/ksyms.h"

#include <errno.h>
#include <stdlib.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/memory/ksyms_impl.h"

#define DIGITS_MAX 4096 /* places with ten digits in a row that are looked at */
#define TABLES_MAX 32	/* of them token tables */

struct ksyms {
	struct ksyms_tokens tokens;
	struct ksyms_names names;
	uint64_t *addresses; /* owned; one for each name */
	const char *layout;
	unsigned anchors;
};

/* A search through the places where the tables may be. */
struct search {
	struct ram *ram;
	struct kernel_candidate *candidate;
	struct ksyms *k; /* what is being made */
	unsigned digits, tables;
	/* Why the last one of those that came furthest was none. */
	int err;
	uint64_t err_at;
	const char *reason;
};

/* ---- one token table ---------------------------------------------------------------------------
 */

static int try_guess(struct search *s, const struct ksyms_guess *g, const int32_t *index,
		     struct kernel_image *ret_image, struct ksyms_verdict *verdict)
{
	const struct kernel_image *image = &s->candidate->image;
	struct ksyms *k = s->k;
	struct ksyms_case c = {.ram = s->ram,
			       .candidate = s->candidate,
			       .tokens = &k->tokens,
			       .names = &k->names,
			       .guess = g,
			       .index = index,
			       .addresses = k->addresses};
	int r = ksyms_load_addresses(s->ram, g, image->va ? image->va - image->pa : 0,
				     k->names.count, &c.base, k->addresses);

	if (r == 0)
		r = ksyms_check(&c, ret_image, verdict);
	if (r == 0)
		k->layout = g->layout;
	return r;
}

static int try_guesses(struct search *s)
{
	struct ksyms_guess guesses[KSYMS_GUESSES_MAX];
	size_t n_names, n = ksyms_list_guesses(&s->k->tokens, &s->k->names, guesses);
	const char *const *names = ksyms_anchor_names(&n_names);
	struct ksyms_verdict verdict = {0, "no layout of the addresses makes sense"};
	struct kernel_image image;
	int32_t index[KSYMS_FIND_MAX];
	int r, swapped = 0;

	ksyms_index_of(&s->k->tokens, &s->k->names, names, n_names, index);
	for (size_t i = 0; i < n; i++) {
		r = try_guess(s, &guesses[i], index, &image, &verdict);
		if (r == 0) {
			s->candidate->image = image;
			s->k->anchors = verdict.anchors;
		}
		if (r == -EBUSY)
			swapped = r;
		else if (!ksyms_is_about_content(r)) /* also when all is well */
			return r;
	}
	s->reason = verdict.reason;
	return swapped ? swapped : -EBADMSG;
}

static void forget(struct ksyms *k)
{
	ksyms_names_deinit(&k->names);
	free(k->addresses);
	k->addresses = NULL;
}

/* 0: all fits, the candidate's image is complete and k is filled. */
static int try_table(struct search *s)
{
	struct ksyms *k = s->k;
	int r = ksyms_load_names(s->ram, &k->tokens, &k->names, &s->reason);

	if (r < 0)
		return r;
	k->addresses = malloc(k->names.count * sizeof(*k->addresses));
	r = k->addresses ? try_guesses(s) : -ENOMEM;
	if (r < 0)
		forget(k);
	return r;
}

/* 1: done; 0: look further; or an error that ends the search. */
static int try_digits(void *ctx, uint64_t digits)
{
	struct search *s = ctx;
	int r;

	if (s->digits++ >= DIGITS_MAX || s->tables >= TABLES_MAX)
		return -EBADMSG;
	r = ksyms_load_tokens(s->ram, digits, &s->k->tokens);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	s->tables++;
	s->err_at = s->k->tokens.table;
	r = try_table(s);
	if (r == 0)
		return 1;
	if (!ksyms_is_about_content(r) && r != -EBUSY)
		return r;
	if (s->err != -EBUSY)
		s->err = r == -EBUSY ? r : -EBADMSG;
	return 0;
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* Where the tables must be, if something says so; else 0. */
static uint64_t known_table(const struct kernel_candidate *c)
{
	if (c->has_info && c->info.kallsyms_token_table && c->image.va)
		return c->info.kallsyms_token_table - c->image.va + c->image.pa;
	return c->token_table;
}

static int search_range(struct search *s, uint64_t from, uint64_t to)
{
	int err = 0, r = ksyms_scan_digits(s->ram, from, to, &err, try_digits, s);

	if (err == -EBUSY && s->err == 0)
		s->err = err;
	return r;
}

/* Read-only data lies behind the text, which is a third of the image or more. */
static int search_image(struct search *s)
{
	const struct kernel_image *image = &s->candidate->image;
	uint64_t size = image->size < 2 * (uint64_t)IMAGE_SIZE_MAX ? image->size
								   : 2 * (uint64_t)IMAGE_SIZE_MAX;
	uint64_t middle = image->pa + size / 4, end = image->pa + size;
	int r;

	if (end < image->pa)
		return -ENXIO;
	r = search_range(s, middle, end);
	if (r == 0)
		r = search_range(s, image->pa, middle + KSYMS_TOKENS_MAX);
	return r;
}

static int search(struct search *s)
{
	uint64_t table = known_table(s->candidate);
	int r;

	if (table)
		r = search_range(s, table, table + KSYMS_TOKENS_MAX);
	else
		r = search_image(s);
	if (r == 1)
		return 0;
	if (r < 0 && !ksyms_is_about_content(r))
		return r;
	return s->err ? s->err : -ENOENT;
}

static int explain(const struct search *s, int r, struct errmsg *why)
{
	const struct kernel_image *image = &s->candidate->image;

	if (r == -ENOENT)
		return errmsg_set(why, r,
				  "no kallsyms tables in the kernel's image at 0x%llx of the "
				  "guest's memory; was it built without CONFIG_KALLSYMS?",
				  (unsigned long long)image->pa);
	if (r == -EBADMSG)
		return errmsg_set(why, r,
				  "the kallsyms tables at 0x%llx of the guest's memory do not fit "
				  "together: %s",
				  (unsigned long long)s->err_at, s->reason);
	if (r == -ENOMEM)
		return errmsg_set(why, r, "out of memory for the guest's kallsyms");
	return ram_explain(r, why);
}

int ksyms_read(struct ram *ram, struct kernel_candidate *candidate, struct ksyms **ret,
	       struct errmsg *why)
{
	struct search s = {.ram = ram, .candidate = candidate, .reason = "none was found"};
	int r;

	s.k = calloc(1, sizeof(*s.k));
	r = s.k ? search(&s) : -ENOMEM;
	if (r < 0) {
		ksyms_destroy(s.k);
		return explain(&s, r, why);
	}
	*ret = s.k;
	return 0;
}

void ksyms_destroy(struct ksyms *k)
{
	if (!k)
		return;
	forget(k);
	free(k);
}

/* ---- what is in them ------------------------------------------------------------------------ */

size_t ksyms_count(const struct ksyms *k)
{
	return k->names.count;
}

unsigned ksyms_anchors(const struct ksyms *k)
{
	return k->anchors;
}

const char *ksyms_layout(const struct ksyms *k)
{
	return k->layout;
}

void ksyms_find_many(const struct ksyms *k, const char *const *names, size_t n, uint64_t *ret)
{
	int32_t index[KSYMS_FIND_MAX];

	if (n > KSYMS_FIND_MAX)
		n = KSYMS_FIND_MAX;
	ksyms_index_of(&k->tokens, &k->names, names, n, index);
	for (size_t i = 0; i < n; i++)
		ret[i] = index[i] < 0 ? 0 : k->addresses[index[i]];
}

uint64_t ksyms_find(const struct ksyms *k, const char *name)
{
	uint64_t address;

	ksyms_find_many(k, &name, 1, &address);
	return address;
}

int ksyms_deliver(const struct ksyms *k, const struct source_sink *sink)
{
	return ksyms_write_text(&k->tokens, &k->names, k->addresses, sink);
}
