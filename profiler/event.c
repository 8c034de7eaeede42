#include "profiler/event.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profiler/tracefsroot.h"
#include "symsrc/base/buf.h"
#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/text.h"

#define EVENT_FILE_MAX 4096
#define EVENT_PATH_MAX 512

struct generic {
	const char *name;
	uint32_t type;
	uint64_t config;
};

/* perf's names: tools/perf/util/parse-events.c, event_symbols_hw and event_symbols_sw. */
static const struct generic generics[] = {
	{"cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
	{"cpu-cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
	{"instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
	{"cache-references", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_REFERENCES},
	{"cache-misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES},
	{"branches", PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_INSTRUCTIONS},
	{"branch-instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_INSTRUCTIONS},
	{"branch-misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_MISSES},
	{"bus-cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_BUS_CYCLES},
	{"stalled-cycles-frontend", PERF_TYPE_HARDWARE, PERF_COUNT_HW_STALLED_CYCLES_FRONTEND},
	{"idle-cycles-frontend", PERF_TYPE_HARDWARE, PERF_COUNT_HW_STALLED_CYCLES_FRONTEND},
	{"stalled-cycles-backend", PERF_TYPE_HARDWARE, PERF_COUNT_HW_STALLED_CYCLES_BACKEND},
	{"idle-cycles-backend", PERF_TYPE_HARDWARE, PERF_COUNT_HW_STALLED_CYCLES_BACKEND},
	{"ref-cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_REF_CPU_CYCLES},
	{"cpu-clock", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK},
	{"task-clock", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK},
	{"page-faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS},
	{"faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS},
	{"minor-faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS_MIN},
	{"major-faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS_MAJ},
	{"context-switches", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES},
	{"cs", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES},
	{"cpu-migrations", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_MIGRATIONS},
	{"migrations", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_MIGRATIONS},
	{"alignment-faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_ALIGNMENT_FAULTS},
	{"emulation-faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_EMULATION_FAULTS},
};

static const struct generic *find_generic(const char *name, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(generics); i++) {
		if (strlen(generics[i].name) == n && memcmp(generics[i].name, name, n) == 0)
			return &generics[i];
	}
	return NULL;
}

static int unknown(const char *spec, const char *what, struct errmsg *why)
{
	return errmsg_set(why, -EINVAL, "event '%s': %s; `perf list` shows those of this host",
			  spec, what);
}

static int parse_generic(const char *spec, struct event *e)
{
	const struct generic *g = find_generic(spec, strlen(spec));

	if (!g)
		return -ENOENT;
	e->type = g->type;
	e->config = g->config;
	e->core_pmu = g->type == PERF_TYPE_HARDWARE;
	return 0;
}

/* "L1-dcache-load-misses" and its kind: cache, operation, result
 * (perf_event_open(2), PERF_TYPE_HW_CACHE). */
static int parse_cache(const char *spec, struct event *e)
{
	static const char *const caches[] = {"L1-dcache-", "L1-icache-", "LLC-", "dTLB-",
					     "iTLB-",	   "branch-",	 "node-"};
	static const char *const ops[] = {"loads",	  "load-misses", "stores",
					  "store-misses", "prefetches",	 "prefetch-misses"};

	for (size_t c = 0; c < ARRAY_SIZE(caches); c++) {
		size_t n = strlen(caches[c]);

		if (strncmp(spec, caches[c], n) != 0)
			continue;
		for (size_t o = 0; o < ARRAY_SIZE(ops); o++) {
			if (strcmp(spec + n, ops[o]) != 0)
				continue;
			e->type = PERF_TYPE_HW_CACHE;
			e->config = c | (o / 2) << 8 | (o % 2) << 16;
			e->core_pmu = true;
			return 0;
		}
	}
	return -ENOENT;
}

static int parse_raw(const char *spec, struct event *e)
{
	if (spec[0] != 'r' || !text_to_u64(spec + 1, 16, UINT64_MAX, &e->config))
		return -ENOENT;
	e->type = PERF_TYPE_RAW;
	e->core_pmu = true;
	return 0;
}

/* Reads a small file of sysfs, without its newline, to text (EVENT_FILE_MAX bytes). */
static int read_line(const char *path, char text[static EVENT_FILE_MAX])
{
	CLEANUP_BUF struct buf b;
	int r;

	buf_init(&b, EVENT_FILE_MAX - 1);
	r = io_read_file(AT_FDCWD, path, &b);
	if (r < 0)
		return r;
	memcpy(text, b.data, b.len + 1);
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

static int read_number(uint64_t *ret, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int read_number(uint64_t *ret, const char *fmt, ...)
{
	char path[EVENT_PATH_MAX];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return io_read_u64(AT_FDCWD, path, ret);
}

/* The event's number, as tracefs has it: where it was said to be, or where the kernel's is. */
static int read_id(const struct event_roots *roots, const char *subsystem, const char *name,
		   uint64_t *ret, struct errmsg *why)
{
	struct tracefs_root root = {.fd = -1};
	int r = roots->tracefs ? 0 : tracefs_root_open(&root, why);

	if (r < 0)
		return r;
	r = read_number(ret, "%s/events/%s/%s/id", roots->tracefs ? roots->tracefs : root.path,
			subsystem, name);
	tracefs_root_close(&root);
	if (r == -EACCES || r == -EPERM)
		return errmsg_set(why, r, "no permission to read tracefs; run as root");
	return r < 0 ? errmsg_set(why, r, "there is no such tracepoint") : 0;
}

/* "subsystem:name". */
static int parse_tracepoint(const char *spec, const struct event_roots *roots, struct event *e,
			    struct errmsg *why)
{
	const char *colon = strchr(spec, ':');
	char subsystem[EVENT_NAME_MAX];
	struct errmsg no;
	int r;

	if (find_generic(spec, (size_t)(colon - spec)))
		return errmsg_set(why, -EINVAL,
				  "event '%s': modifiers are not taken, say '%.*s': which of host, "
				  "guest, user and kernel it was is told by each sample",
				  spec, (int)(colon - spec), spec);
	snprintf(subsystem, sizeof(subsystem), "%.*s", (int)(colon - spec), spec);
	if (!text_is_component(subsystem) || !text_is_component(colon + 1))
		return unknown(spec, "is not of the form subsystem:name", why);
	r = read_id(roots, subsystem, colon + 1, &e->config, &no);
	if (r == -ENOENT)
		return unknown(spec, no.text, why);
	if (r < 0)
		return errmsg_set(why, -EINVAL, "event '%s': %s", spec, no.text);
	e->type = PERF_TYPE_TRACEPOINT;
	return 0;
}

/* One range of a format, "5" or "0-7". */
static int take_bits(const char **s, unsigned *low, unsigned *high)
{
	char *end;
	unsigned long first = strtoul(*s, &end, 10);
	unsigned long last = first;

	if (end == *s || **s < '0' || **s > '9')
		return -EBADMSG;
	if (*end == '-') {
		*s = end + 1;
		last = strtoul(*s, &end, 10);
		if (end == *s || **s < '0' || **s > '9')
			return -EBADMSG;
	}
	if (last < first || last > 63)
		return -EBADMSG;
	*s = end;
	*low = (unsigned)first;
	*high = (unsigned)last;
	return 0;
}

static uint64_t *field_of(const char **format, struct event *e)
{
	struct {
		const char *name;
		uint64_t *field;
	} fields[] = {
		{"config:", &e->config}, {"config1:", &e->config1}, {"config2:", &e->config2}};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		size_t n = strlen(fields[i].name);

		if (strncmp(*format, fields[i].name, n) != 0)
			continue;
		*format += n;
		return fields[i].field;
	}
	return NULL;
}

/* The lowest n bits. */
static uint64_t low_bits(unsigned n)
{
	return n >= 64 ? UINT64_MAX : (1ULL << n) - 1;
}

int event_apply_format(const char *format, uint64_t value, struct event *e)
{
	uint64_t *field = field_of(&format, e);
	uint64_t bits;

	if (!field)
		return -EBADMSG;
	bits = *field;
	for (;;) {
		unsigned low;
		unsigned high;
		int r = take_bits(&format, &low, &high);

		if (r < 0)
			return r;
		bits &= ~(low_bits(high - low + 1) << low);
		bits |= (value & low_bits(high - low + 1)) << low;
		value = high - low + 1 >= 64 ? 0 : value >> (high - low + 1);
		if (*format != ',')
			break;
		format++;
	}
	if (*format)
		return -EBADMSG;
	if (value)
		return -ERANGE;
	*field = bits;
	return 0;
}

/* A PMU's directory of sysfs. */
struct pmu {
	const char *spec; /* for messages */
	char dir[EVENT_PATH_MAX / 2];
};

static int apply_terms(const struct pmu *pmu, char *terms, bool aliases, struct event *e,
		       struct errmsg *why);

/* A term without a value: an event that the PMU names (its file holds terms), or a flag. */
static int apply_alias(const struct pmu *pmu, const char *name, struct event *e, struct errmsg *why)
{
	char path[EVENT_PATH_MAX];
	char terms[EVENT_FILE_MAX];

	if (snprintf(path, sizeof(path), "%s/events/%s", pmu->dir, name) >= (int)sizeof(path) ||
	    read_line(path, terms) < 0)
		return -ENOENT;
	return apply_terms(pmu, terms, false, e, why);
}

static int apply_value(const struct pmu *pmu, const char *name, uint64_t value, struct event *e)
{
	char path[EVENT_PATH_MAX];
	char format[EVENT_FILE_MAX];

	if (strcmp(name, "config") == 0)
		e->config = value;
	else if (strcmp(name, "config1") == 0)
		e->config1 = value;
	else if (strcmp(name, "config2") == 0)
		e->config2 = value;
	else if (snprintf(path, sizeof(path), "%s/format/%s", pmu->dir, name) >=
			 (int)sizeof(path) ||
		 read_line(path, format) < 0)
		return -ENOENT;
	else
		return event_apply_format(format, value, e);
	return 0;
}

static bool parse_value(const char *s, uint64_t *ret)
{
	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
		return text_to_u64(s + 2, 16, UINT64_MAX, ret);
	return text_to_u64(s, 10, UINT64_MAX, ret);
}

static int apply_term(const struct pmu *pmu, char *term, bool aliases, struct event *e,
		      struct errmsg *why)
{
	char *value_text = strchr(term, '=');
	uint64_t value = 1;
	int r;

	if (value_text)
		*value_text++ = '\0';
	if (!text_is_component(term))
		return unknown(pmu->spec, "malformed between the slashes", why);
	if (!value_text && aliases) {
		r = apply_alias(pmu, term, e, why);
		if (r != -ENOENT)
			return r;
	}
	if (value_text && !parse_value(value_text, &value))
		return errmsg_set(why, -EINVAL, "event '%s': '%s' of %s is no number", pmu->spec,
				  value_text, term);
	r = apply_value(pmu, term, value, e);
	if (r == -ERANGE)
		return errmsg_set(why, -EINVAL, "event '%s': %s is too large", pmu->spec, term);
	return r < 0 ? errmsg_set(why, -EINVAL, "event '%s': this PMU has no '%s' in %s", pmu->spec,
				  term, pmu->dir)
		     : 0;
}

static int apply_terms(const struct pmu *pmu, char *terms, bool aliases, struct event *e,
		       struct errmsg *why)
{
	char *rest = NULL;

	for (char *term = strtok_r(terms, ",", &rest); term; term = strtok_r(NULL, ",", &rest)) {
		int r = apply_term(pmu, term, aliases, e, why);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The CPU's own PMU is "cpu" on x86, "cpu_core" and "cpu_atom" on hybrid ones, "armv8_..." on
 * arm64 (Documentation/admin-guide/perf). */
static bool is_core_pmu(const char *name)
{
	return strcmp(name, "cpu") == 0 || strncmp(name, "cpu_", 4) == 0 ||
	       strncmp(name, "armv", 4) == 0;
}

static int open_pmu(const char *spec, const char *name, const struct event_roots *roots,
		    struct pmu *pmu, struct event *e)
{
	uint64_t type;
	int r;

	pmu->spec = spec;
	if (snprintf(pmu->dir, sizeof(pmu->dir), "%s/bus/event_source/devices/%s", roots->sys,
		     name) >= (int)sizeof(pmu->dir))
		return -ENAMETOOLONG;
	r = read_number(&type, "%s/type", pmu->dir);
	if (r < 0)
		return r;
	e->type = (uint32_t)type;
	e->core_pmu = is_core_pmu(name);
	return 0;
}

/* "pmu/terms/". */
static int parse_pmu(const char *spec, const struct event_roots *roots, struct event *e,
		     struct errmsg *why)
{
	const char *slash = strchr(spec, '/');
	size_t n = strlen(slash + 1);
	char name[EVENT_NAME_MAX];
	char terms[EVENT_TERMS_MAX];
	struct pmu pmu;

	snprintf(name, sizeof(name), "%.*s", (int)(slash - spec), spec);
	if (n == 0 || slash[n] != '/' || n > sizeof(terms) || !text_is_component(name))
		return unknown(spec, "is not of the form pmu/terms/", why);
	if (open_pmu(spec, name, roots, &pmu, e) < 0)
		return unknown(spec, "there is no such PMU", why);
	snprintf(terms, sizeof(terms), "%.*s", (int)(n - 1), slash + 1);
	return apply_terms(&pmu, terms, true, e, why);
}

/* A bare name that the CPU's PMU knows, "mem-loads". */
static int parse_cpu_alias(const char *spec, const struct event_roots *roots, struct event *e,
			   struct errmsg *why)
{
	static const char *const pmus[] = {"cpu", "cpu_core", "armv8_pmuv3_0"};
	struct pmu pmu;

	for (size_t i = 0; text_is_component(spec) && i < ARRAY_SIZE(pmus); i++) {
		if (open_pmu(spec, pmus[i], roots, &pmu, e) == 0)
			return apply_alias(&pmu, spec, e, why);
	}
	return -ENOENT;
}

static int parse_name(const char *spec, const struct event_roots *roots, struct event *e,
		      struct errmsg *why)
{
	if (strchr(spec, '/'))
		return parse_pmu(spec, roots, e, why);
	if (strchr(spec, ':'))
		return parse_tracepoint(spec, roots, e, why);
	if (parse_generic(spec, e) == 0 || parse_cache(spec, e) == 0 || parse_raw(spec, e) == 0)
		return 0;
	return parse_cpu_alias(spec, roots, e, why);
}

int event_parse(const char *spec, const struct event_roots *roots, struct event *ret,
		struct errmsg *why)
{
	struct event e = {0};
	int r;

	r = parse_name(spec, roots, &e, why);
	if (r == -ENOENT)
		return unknown(spec, "there is no such event", why);
	if (r < 0)
		return r;
	snprintf(e.name, sizeof(e.name), "%s", spec);
	*ret = e;
	return 0;
}
