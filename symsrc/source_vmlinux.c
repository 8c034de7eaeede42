/* vmlinux:PATH[,slide:HEX] - the kernel's own ELF file, for guests whose kernel has no kallsyms,
 * or hides part of it.
 *
 * A file says at which addresses the kernel was linked; with KASLR it runs elsewhere. Where that
 * is, and that it is this kernel, the guest's memory says: by its kallsyms, or where it has none
 * by its notes, which lie where the file says. Another build-id is refused. Where memory cannot
 * be read, the addresses say it that the guest is sampled at (slide.h), and refuse a kernel that
 * they do not fit. Until they do nothing is resolved, since it would be resolved wrongly, unless
 * the user says what the slide is (0 for a guest that was booted with nokaslr). That is believed
 * until memory or the samples know better. A recording has seen the kernel's build-id and where it
 * ran, as a rule: that counts.
 *
 * The kernel's modules are not in the file. Where memory holds them they are taken from there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"
#include "symsrc/memory/knownkernel.h"
#include "symsrc/slide.h"
#include "symsrc/source_impl.h"
#include "symsrc/source_memory.h"
#include "symsrc/vmlinux.h"

struct source_vmlinux {
	struct source_ram base;
	char *path;
	bool has_slide; /* the user says it: */
	uint64_t slide;
	struct guest_kernel known; /* struct source_target */
	const uint64_t *sampled;   /* likewise */
	size_t sampled_count;
};

/* The mark of a kernel that was not seen in memory, so that there is nothing to look at. */
static const struct source_mark unseen = {.len = 1};

/* One fetch. */
struct vmlinux_fetch {
	struct source_vmlinux *source;
	const struct source_limits *limits;
	struct vmlinux file;
	struct source_ram_reading reading;
	struct kernel *kernel; /* as memory has it, or NULL */
	uint64_t slide;
	const char *how;
	struct slide_guess guess;
	struct errmsg *why;
};

static int refuse_other(const struct vmlinux_fetch *f, const struct build_id *running)
{
	char ours[BUILD_ID_HEX_SIZE], theirs[BUILD_ID_HEX_SIZE];

	build_id_to_hex(&f->file.id, ours);
	build_id_to_hex(running, theirs);
	return errmsg_set(f->why, -EKEYREJECTED,
			  "vmlinux:%s: is of another kernel: its build-id is %s, the guest's %s",
			  f->source->path, ours, theirs);
}

/* Somebody has seen it: perf, when it recorded. -ENODATA: not so. */
static int place_by_known(struct vmlinux_fetch *f)
{
	const struct guest_kernel *k = &f->source->known;
	uint64_t linked;

	if (k->id.len && f->file.id.len && !build_id_equals(&f->file.id, &k->id))
		return refuse_other(f, &k->id);
	if (!k->symbol[0] || !vmlinux_find(&f->file, k->symbol, &linked))
		return -ENODATA;
	f->slide = k->symbol_at - linked;
	f->how = "slide by the recording";
	return 0;
}

/* The kernel in memory has told its symbols. */
static int place_by_kernel(struct vmlinux_fetch *f)
{
	struct build_id id;
	int r = kernel_build_id(f->kernel, &id);

	if (r < 0)
		return errmsg_set(f->why, r,
				  "vmlinux:%s: the guest's kernel does not say its build-id",
				  f->source->path);
	if (!build_id_equals(&id, &f->file.id))
		return refuse_other(f, &id);
	f->slide = kernel_text(f->kernel) - f->file.text;
	f->how = "slide by kallsyms in memory";
	return 0;
}

/* It has none, or they are of a kind that is not known here. */
static int place_by_notes(struct vmlinux_fetch *f, int failed)
{
	const struct known_kernel known = {f->file.text, f->file.notes_va, f->file.notes,
					   f->file.notes_len};
	struct build_id other = {0};
	int r = knownkernel_find(&f->reading.ram, &known, f->limits->quick, &f->slide, &other);

	f->how = "slide by build-id in memory";
	if (r == -ENOENT && other.len && !build_id_equals(&other, &f->file.id))
		return refuse_other(f, &other);
	if (r == -ENOTUNIQ)
		return errmsg_set(f->why, r,
				  "vmlinux:%s: the slide is not known: this kernel lies in the "
				  "guest's memory more than once",
				  f->source->path);
	return r == -ENOENT ? failed : r;
}

static int refuse_unfit(const struct vmlinux_fetch *f)
{
	return errmsg_set(f->why, -EKEYREJECTED,
			  "vmlinux:%s: is of another kernel: wherever it ran, at most %zu of %zu "
			  "sampled addresses would be an instruction of it",
			  f->source->path, f->guess.hits, f->guess.used);
}

/* memory, samples: what they have to say. */
static int place_unknown(const struct vmlinux_fetch *f, const struct errmsg *memory,
			 const struct errmsg *samples)
{
	return errmsg_set(f->why, memory->code,
			  "vmlinux:%s: where the kernel runs (KASLR) is not known, so nothing is "
			  "resolved: %s; %.130s; vmlinux:PATH,slide:0 if it is where it was linked",
			  f->source->path, samples->text, memory->text);
}

/* What is sampled says where: 0, and guess; -EKEYREJECTED: of no such kernel, and why; else
 * *samples says why that is not known. */
static int guess_by_samples(struct vmlinux_fetch *f, struct errmsg *samples)
{
	const struct source_vmlinux *s = f->source;
	struct slide_code code;
	int r = vmlinux_code(&f->file, &code, samples);

	if (r < 0)
		return -EAGAIN;
	f->source->base.base.wants_sampled = true;
	r = slide_find(&code, s->sampled, s->sampled_count, &f->guess);
	if (r == -ENOENT)
		return refuse_unfit(f);
	return errmsg_set(samples, r, "%zu sampled addresses leave %u places", f->guess.used,
			  f->guess.places);
}

static int place_by_samples(struct vmlinux_fetch *f)
{
	f->slide = f->guess.slide;
	f->how = "slide by sampled addresses";
	return 0;
}

/* The user's word, as long as the samples do not know better. r: what came of them. */
static int place_as_given(struct vmlinux_fetch *f, int r)
{
	struct source_vmlinux *s = f->source;

	if (r == 0 && f->guess.slide != s->slide)
		return place_by_samples(f);
	if (r < 0)
		f->guess = (struct slide_guess){0};
	s->base.base.unproven = r < 0;
	f->slide = s->slide;
	f->how = "slide as it was given";
	return 0;
}

/* memory: what came of it, and why. */
static int place_without_memory(struct vmlinux_fetch *f, const struct errmsg *memory)
{
	struct errmsg samples = {0};
	int r = guess_by_samples(f, &samples);

	if (r == -EKEYREJECTED)
		return r;
	if (f->source->has_slide)
		return place_as_given(f, r);
	return r < 0 ? place_unknown(f, memory, &samples) : place_by_samples(f);
}

static int place_by_memory(struct vmlinux_fetch *f)
{
	struct source_vmlinux *s = f->source;
	int r;

	if (!f->file.id.len)
		return errmsg_set(f->why, -EBADMSG,
				  "vmlinux:%s: has no build-id, so that nobody can tell whose "
				  "kernel it is",
				  s->path);
	r = source_ram_read(&s->base, f->limits, &f->reading, &f->kernel, f->why);
	if (r == 0)
		return place_by_kernel(f);
	if (s->base.ram && (r == -ENODATA || r == -EBADMSG || r == -ENOENT))
		r = place_by_notes(f, r);
	return r;
}

/* What memory says is final. One who knows where the kernel runs need not wait for a guest that is
 * said to boot for ever. */
static bool is_final(const struct vmlinux_fetch *f, int r)
{
	if (r == -EAGAIN)
		return !f->source->has_slide || f->limits->quick || f->limits->booting;
	if (!f->file.id.len)
		return !f->source->has_slide;
	return r == 0 || r == -EKEYREJECTED || r == -ECANCELED;
}

/* Where the kernel runs. Sets slide, how, and where memory could tell it kernel. */
static int place(struct vmlinux_fetch *f)
{
	struct errmsg memory;
	int r = place_by_known(f);

	if (r != -ENODATA)
		return r;
	r = place_by_memory(f);
	if (is_final(f, r))
		return r;
	memory = *f->why;
	memory.code = r;
	*f->why = (struct errmsg){0};
	return place_without_memory(f, &memory);
}

static int put_symbols(const struct vmlinux_fetch *f, const struct source_sink *sink)
{
	int r = sink->begin(sink->ctx, GUEST_FILE_KALLSYMS, NULL);

	if (r == 0)
		r = vmlinux_put_kallsyms(&f->file, f->slide, sink, f->why);
	return r < 0 || !f->kernel ? r : kernel_put_module_symbols(f->kernel, sink);
}

/* What is in memory is the running kernel's; for the rest the file has to do. */
static int deliver(const struct vmlinux_fetch *f, unsigned want, const struct source_sink *sink)
{
	int r = 0;

	if (want & GUEST_FILE_BIT(GUEST_FILE_KALLSYMS))
		r = put_symbols(f, sink);
	want &= ~GUEST_FILE_BIT(GUEST_FILE_KALLSYMS);
	if (r < 0)
		return r;
	return f->kernel ? kernel_deliver(f->kernel, want, sink, f->why)
			 : vmlinux_deliver(&f->file, want, sink, f->why);
}

/* By nothing but where the kernel is: it may be another one. */
static bool is_id_unseen(const struct vmlinux_fetch *f)
{
	const struct guest_kernel *k = &f->source->known;

	return f->guess.used || (k->symbol[0] && (!k->id.len || !f->file.id.len));
}

/* What the symbols lack. */
static void describe_lack(const struct vmlinux_fetch *f)
{
	struct source *s = &f->source->base.base;
	struct errmsg lack = {0};

	s->note[0] = '\0';
	if (!f->kernel)
		snprintf(s->note, sizeof(s->note), "core symbols only: a vmlinux has no modules%s",
			 s->unproven	   ? "; whether it is the guest's kernel was not seen"
			 : is_id_unseen(f) ? "; the guest's build-id was not seen"
					   : "");
	else if (!kernel_is_whole(f->kernel, &lack))
		snprintf(s->note, sizeof(s->note), "core symbols only: %.*s", SOURCE_NOTE_MAX - 20,
			 lack.text);
	s->partial = s->note[0] != '\0';
}

/* It comes first, since what there is of the rest may be long. */
static void describe_wrong_slide(const struct vmlinux_fetch *f)
{
	struct source *s = &f->source->base.base;
	char rest[SOURCE_NOTE_MAX];

	if (!f->source->has_slide || f->slide == f->source->slide)
		return;
	memcpy(rest, s->note, sizeof(rest));
	snprintf(s->note, sizeof(s->note), "the slide that was given, 0x%llx, is wrong%s%.*s",
		 (unsigned long long)f->source->slide, rest[0] ? "; " : "", SOURCE_NOTE_MAX - 60,
		 rest);
}

static void describe(const struct vmlinux_fetch *f)
{
	struct source *s = &f->source->base.base;

	snprintf(s->used, sizeof(s->used), "vmlinux:%s", f->source->path);
	snprintf(s->how, sizeof(s->how), "%s: 0x%llx", f->how, (unsigned long long)f->slide);
	if (f->guess.used)
		snprintf(s->how, sizeof(s->how), "%s: 0x%llx fits %zu of %zu", f->how,
			 (unsigned long long)f->slide, f->guess.hits, f->guess.used);
	describe_lack(f);
	describe_wrong_slide(f);
	s->mark = unseen;
	if (f->kernel)
		source_ram_keep_mark(&f->source->base, f->kernel);
}

static int vmlinux_fetch(struct source *s, unsigned want, const struct source_limits *limits,
			 const struct source_sink *sink, struct errmsg *why)
{
	struct source_vmlinux *v = (struct source_vmlinux *)s;
	struct errmsg unused = {0};
	struct vmlinux_fetch f = {.source = v, .limits = limits, .why = why ? why : &unused};
	int r;

	/* Nobody who has no mark can tell a boot from another by this. */
	if (!(want & GUEST_FILE_BIT(GUEST_FILE_KALLSYMS)))
		return 0;
	r = vmlinux_open(v->path, &f.file, f.why);
	if (r < 0)
		return r;
	r = place(&f);
	if (r == 0)
		r = deliver(&f, want, sink);
	if (r == 0)
		describe(&f);
	kernel_destroy(f.kernel);
	vmlinux_close(&f.file);
	return r;
}

static int vmlinux_look(struct source *s, const struct source_limits *limits, struct errmsg *why)
{
	return s->mark.len == unseen.len ? SOURCE_SAME : source_ram_look(s, limits, why);
}

static void vmlinux_destroy(struct source *s)
{
	struct source_vmlinux *v = (struct source_vmlinux *)s;

	source_ram_deinit(&v->base);
	free(v->path);
	free(v);
}

static const struct source_ops vmlinux_ops = {.scheme = "vmlinux",
					      .fetch = vmlinux_fetch,
					      .destroy = vmlinux_destroy,
					      .look = vmlinux_look};

/* slide: NULL, or what follows ",slide:". */
static bool take_slide(struct source_vmlinux *v, const char *slide)
{
	if (slide && strncmp(slide, "0x", 2) == 0)
		slide += 2;
	v->has_slide = slide != NULL;
	return !slide || text_to_u64(slide, 16, UINT64_MAX, &v->slide);
}

int source_vmlinux_create(const char *uri, const struct source_target *target, struct source **ret,
			  struct errmsg *why)
{
	static const char second[] = ",slide:";
	const char *path = uri + strlen("vmlinux:");
	const char *slide = strstr(path, second);
	struct source_vmlinux *v;

	if (*path != '/')
		return errmsg_set(why, -EINVAL,
				  "symbol source \"%s\": vmlinux: wants a path that begins with /",
				  uri);
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->base.base.ops = &vmlinux_ops;
	source_ram_init(&v->base, target);
	v->known = target->kernel;
	v->sampled = target->sampled;
	v->sampled_count = target->sampled_count;
	v->path = strndup(path, slide ? (size_t)(slide - path) : strlen(path));
	*ret = &v->base.base;
	if (v->path && take_slide(v, slide ? slide + sizeof(second) - 1 : NULL))
		return 0;
	source_destroy(take_ptr(*ret));
	return errmsg_set(why, -EINVAL, "symbol source \"%s\": the slide is hexadecimal, or 0",
			  uri);
}
