/* PID/profile.pb.gz: what pprof and its friends read, a gzipped message Profile of
 * github.com/google/pprof/proto/profile.proto, whose names the enums below keep.
 *
 * What readers want beyond that file: ids are positions + 1 (Parca), every location has a mapping
 * and the profile a period type (Pyroscope), the kernel's mapping comes first (pprof shows it as
 * the program), labels are strings (Pyroscope drops others).
 */
#include "fs/render.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "fs/protobuf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/clock.h"
#include "symsrc/base/text.h"

enum {
	PROFILE_SAMPLE_TYPE = 1,
	PROFILE_SAMPLE = 2,
	PROFILE_MAPPING = 3,
	PROFILE_LOCATION = 4,
	PROFILE_FUNCTION = 5,
	PROFILE_STRING_TABLE = 6,
	PROFILE_TIME_NANOS = 9,
	PROFILE_DURATION_NANOS = 10,
	PROFILE_PERIOD_TYPE = 11,
	PROFILE_PERIOD = 12,
	PROFILE_COMMENT = 13
};
enum { VALUE_TYPE_TYPE = 1, VALUE_TYPE_UNIT = 2 };
enum { SAMPLE_LOCATION_ID = 1, SAMPLE_VALUE = 2, SAMPLE_LABEL = 3 };
enum { LABEL_KEY = 1, LABEL_STR = 2 };
enum {
	MAPPING_ID = 1,
	MAPPING_MEMORY_START = 2,
	MAPPING_MEMORY_LIMIT = 3,
	MAPPING_FILENAME = 5,
	MAPPING_BUILD_ID = 6,
	MAPPING_HAS_FUNCTIONS = 7
};
enum { LOCATION_ID = 1, LOCATION_MAPPING_ID = 2, LOCATION_ADDRESS = 3, LOCATION_LINE = 4 };
enum { LINE_FUNCTION_ID = 1 };
enum { FUNCTION_ID = 1, FUNCTION_NAME = 2, FUNCTION_SYSTEM_NAME = 3, FUNCTION_FILENAME = 4 };

#define TEXT_MAX 2048 /* of a symbol of 511 bytes, each of them escaped */

/* The first strings of the table. */
enum { STRING_EMPTY, STRING_SAMPLES, STRING_COUNT, STRING_CPU, STRING_NANOSECONDS, STRING_FIXED };
static const char *const fixed_strings[STRING_FIXED] = {
	[STRING_EMPTY] = "",  [STRING_SAMPLES] = "samples",	    [STRING_COUNT] = "count",
	[STRING_CPU] = "cpu", [STRING_NANOSECONDS] = "nanoseconds",
};

struct mapping {
	uint64_t start, limit; /* 0: not known */
	const struct build_id *id;
	uint64_t filename; /* string */
};

struct writer {
	struct buf *out;
	struct buf message, inner; /* for a moment */
	struct buf labels;	   /* what ends each sample */
	uint64_t strings;	   /* in the table */
	uint64_t locations;	   /* as many functions */
	unsigned freq;
};

/* Makes it a string of the table, ASCII whatever it is, and returns its index. */
static uint64_t string(struct writer *w, const char *text)
{
	char shown[TEXT_MAX];
	size_t n = text_clean(shown, sizeof(shown), text, strlen(text));

	protobuf_bytes(w->out, PROFILE_STRING_TABLE, shown, n);
	return w->strings++;
}

static void value_type(struct writer *w, unsigned field, uint64_t type, uint64_t unit)
{
	protobuf_u64(&w->message, VALUE_TYPE_TYPE, type);
	protobuf_u64(&w->message, VALUE_TYPE_UNIT, unit);
	protobuf_message(w->out, field, &w->message);
}

/* -- what there is once ------------------------------------------------------------------ */

static void write_values(struct writer *w)
{
	value_type(w, PROFILE_SAMPLE_TYPE, STRING_SAMPLES, STRING_COUNT);
	if (w->freq == 0) {
		value_type(w, PROFILE_PERIOD_TYPE, STRING_SAMPLES, STRING_COUNT);
		protobuf_u64(w->out, PROFILE_PERIOD, 1);
		return;
	}
	value_type(w, PROFILE_SAMPLE_TYPE, STRING_CPU, STRING_NANOSECONDS);
	value_type(w, PROFILE_PERIOD_TYPE, STRING_CPU, STRING_NANOSECONDS);
	protobuf_u64(w->out, PROFILE_PERIOD, NSEC_PER_SEC / w->freq);
}

static void write_comments(struct writer *w, const struct guest *g, const struct profile *p)
{
	char text[512];

	snprintf(text, sizeof(text), "kvmprofs: guest %s (pid %d)", g->name, (int)g->pid);
	protobuf_u64(w->out, PROFILE_COMMENT, string(w, text));
	snprintf(text, sizeof(text), "sampler: %s, event: %s, frequency: %u Hz",
		 render_sampler_name(p->sampler), p->event[0] ? p->event : "none", p->freq);
	protobuf_u64(w->out, PROFILE_COMMENT, string(w, text));
	snprintf(text, sizeof(text), "lost: %llu", (unsigned long long)p->lost);
	protobuf_u64(w->out, PROFILE_COMMENT, string(w, text));
}

static void write_header(struct writer *w, const struct guest *g, const struct profile *p,
			 const struct render_when *when)
{
	for (size_t i = 0; i < STRING_FIXED; i++)
		string(w, fixed_strings[i]);
	write_values(w);
	protobuf_u64(w->out, PROFILE_TIME_NANOS, render_wall_ns(when, p->since_ns));
	protobuf_u64(w->out, PROFILE_DURATION_NANOS, render_length_ns(p));
	write_comments(w, g, p);
}

static void add_label(struct writer *w, const char *key, const char *text)
{
	protobuf_u64(&w->message, LABEL_KEY, string(w, key));
	protobuf_u64(&w->message, LABEL_STR, string(w, text));
	protobuf_message(&w->labels, SAMPLE_LABEL, &w->message);
}

/* So that several guests' profiles can be merged and told apart. */
static void make_labels(struct writer *w, const struct guest *g, const struct profile *p)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", (int)g->pid);
	add_label(w, "guest", g->name);
	add_label(w, "pid", number);
	if (p->slice.vcpu) {
		snprintf(number, sizeof(number), "%d", slice_vcpu(&p->slice));
		add_label(w, "vcpu", number);
	}
}

/* -- objects ----------------------------------------------------------------------------- */

static bool is_kernel(const char *object)
{
	return strcmp(object, PROFILE_OBJECT_KERNEL) == 0;
}

static int kernel_first(const void *a, const void *b)
{
	const struct render_object *x = a, *y = b;

	if (is_kernel(x->name) != is_kernel(y->name))
		return is_kernel(x->name) ? -1 : 1;
	return strcmp(x->name, y->name);
}

struct mappings {
	const struct render_objects *objects; /* in the order of kernel_first() */
	struct mapping *list;		      /* one for each */
};

static struct mapping *find_module(const struct mappings *m, const char *name)
{
	char object[MODULE_NAME_MAX + 2];
	struct render_object key = {.name = object}, *found;

	snprintf(object, sizeof(object), "[%s]", name);
	found = bsearch(&key, m->objects->list, m->objects->count, sizeof(key), kernel_first);
	return found ? &m->list[found - m->objects->list] : NULL;
}

static int place_module(void *ctx, const struct module_line *line)
{
	struct mapping *m = find_module(ctx, line->name);

	if (m && line->base && line->size <= UINT64_MAX - line->base) {
		m->start = line->base;
		m->limit = line->base + line->size;
	}
	return 0;
}

static void place_kernel(struct mapping *m, const struct symbols *s)
{
	uint64_t start, end;

	if (s->table && symtab_find_name(s->table, "_text", &start) &&
	    symtab_find_name(s->table, "_end", &end) && start < end) {
		m->start = start;
		m->limit = end;
	}
	m->id = &s->kernel_id;
}

static void fill_mappings(struct mappings *m, const struct symbols *s)
{
	if (m->objects->count && is_kernel(m->objects->list[0].name))
		place_kernel(&m->list[0], s);
	/* What is malformed cannot be: it has been parsed before. */
	if (s->modules)
		(void)modules_parse(s->modules->data, s->modules->size, place_module, m, NULL);
	for (size_t i = 0; i < s->module_count; i++) {
		struct mapping *module = find_module(m, s->module_list[i].name);

		if (module)
			module->id = &s->module_list[i].id;
	}
}

static void write_mapping(struct writer *w, struct mapping *m, uint64_t id, const char *object)
{
	char hex[BUILD_ID_HEX_SIZE] = "";

	if (m->id && m->id->len)
		build_id_to_hex(m->id, hex);
	m->filename = string(w, object);
	protobuf_u64(&w->message, MAPPING_ID, id);
	protobuf_u64(&w->message, MAPPING_MEMORY_START, m->start);
	protobuf_u64(&w->message, MAPPING_MEMORY_LIMIT, m->limit);
	protobuf_u64(&w->message, MAPPING_FILENAME, m->filename);
	protobuf_u64(&w->message, MAPPING_BUILD_ID, hex[0] ? string(w, hex) : STRING_EMPTY);
	protobuf_u64(&w->message, MAPPING_HAS_FUNCTIONS, 1); /* nothing is to be looked up */
	protobuf_message(w->out, PROFILE_MAPPING, &w->message);
}

/* -- rows -------------------------------------------------------------------------------- */

/* The symbol's address, unless it is of a boot whose kernel lay elsewhere. */
static uint64_t address_in(const struct mapping *m, const struct profile_row *r)
{
	if (m->limit && (r->address < m->start || r->address >= m->limit))
		return 0;
	return r->address;
}

static void write_location(struct writer *w, uint64_t id, uint64_t mapping_id, uint64_t address)
{
	protobuf_u64(&w->inner, LINE_FUNCTION_ID, id);
	protobuf_u64(&w->message, LOCATION_ID, id);
	protobuf_u64(&w->message, LOCATION_MAPPING_ID, mapping_id);
	protobuf_u64(&w->message, LOCATION_ADDRESS, address);
	protobuf_message(&w->message, LOCATION_LINE, &w->inner);
	protobuf_message(w->out, PROFILE_LOCATION, &w->message);
}

static void write_function(struct writer *w, uint64_t id, const char *symbol, uint64_t object)
{
	uint64_t name = string(w, symbol);

	protobuf_u64(&w->message, FUNCTION_ID, id);
	protobuf_u64(&w->message, FUNCTION_NAME, name);
	protobuf_u64(&w->message, FUNCTION_SYSTEM_NAME, name);
	protobuf_u64(&w->message, FUNCTION_FILENAME, object);
	protobuf_message(w->out, PROFILE_FUNCTION, &w->message);
}

/* Without overflow for some hundred years of one CPU. */
static uint64_t cpu_ns(uint64_t samples, unsigned freq)
{
	return samples / freq * NSEC_PER_SEC + samples % freq * NSEC_PER_SEC / freq;
}

static void write_sample(struct writer *w, uint64_t location_id, uint64_t samples)
{
	protobuf_varint(&w->inner, location_id);
	protobuf_message(&w->message, SAMPLE_LOCATION_ID, &w->inner);
	protobuf_varint(&w->inner, samples);
	if (w->freq)
		protobuf_varint(&w->inner, cpu_ns(samples, w->freq));
	protobuf_message(&w->message, SAMPLE_VALUE, &w->inner);
	buf_append(&w->message, w->labels.data, w->labels.len);
	protobuf_message(w->out, PROFILE_SAMPLE, &w->message);
}

static void write_object(struct writer *w, const struct render_object *o, struct mapping *m,
			 uint64_t mapping_id)
{
	write_mapping(w, m, mapping_id, o->name);
	for (size_t i = 0; i < o->count && !w->out->err; i++) {
		uint64_t id = ++w->locations;

		write_sample(w, id, o->rows[i]->samples);
		write_location(w, id, mapping_id, address_in(m, o->rows[i]));
		write_function(w, id, o->rows[i]->symbol, m->filename);
	}
}

static int write_objects(struct writer *w, const struct profile *p, const struct symbols *s)
{
	struct render_objects objects = {0};
	struct mappings m = {.objects = &objects};
	int r = render_objects_make(p, &objects);

	if (r < 0)
		return r;
	qsort(objects.list, objects.count, sizeof(*objects.list), kernel_first);
	m.list = calloc(objects.count + 1, sizeof(*m.list));
	if (m.list && s)
		fill_mappings(&m, s);
	for (size_t i = 0; m.list && i < objects.count; i++)
		write_object(w, &objects.list[i], &m.list[i], i + 1);
	r = m.list ? w->out->err : -ENOMEM;
	free(m.list);
	render_objects_free(&objects);
	return r;
}

/* -- gzip -------------------------------------------------------------------------------- */

#define GZIP_WINDOW (15 + 16) /* the largest window, and a gzip header (zlib.h, deflateInit2()) */
#define GZIP_MEMORY 8	      /* the default */

static int gzip(const struct buf *from, struct buf *out)
{
	z_stream z = {.next_in = (Bytef *)from->data, .avail_in = (uInt)from->len};
	unsigned char chunk[16384];
	int r = deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
			     Z_DEFAULT_STRATEGY);

	while (r == Z_OK && !out->err) {
		z.next_out = chunk;
		z.avail_out = sizeof(chunk);
		r = deflate(&z, Z_FINISH);
		buf_append(out, chunk, sizeof(chunk) - z.avail_out);
	}
	deflateEnd(&z);
	if (out->err)
		return out->err;
	return r == Z_STREAM_END ? 0 : -ENOMEM;
}

int render_pprof(const struct guest *guest, const struct profile *profile,
		 const struct symbols *symbols, const struct render_when *when, struct buf *out)
{
	CLEANUP_BUF struct buf raw;
	struct writer w = {.out = &raw, .freq = profile->freq};
	int r;

	buf_init(&raw, out->max);
	buf_init(&w.message, TEXT_MAX);
	buf_init(&w.inner, TEXT_MAX);
	buf_init(&w.labels, TEXT_MAX);
	write_header(&w, guest, profile, when);
	make_labels(&w, guest, profile);
	r = write_objects(&w, profile, symbols);
	if (r == 0)
		r = w.message.err ? w.message.err : w.inner.err;
	if (r == 0)
		r = gzip(&raw, out);
	buf_deinit(&w.message);
	buf_deinit(&w.inner);
	buf_deinit(&w.labels);
	return r;
}
