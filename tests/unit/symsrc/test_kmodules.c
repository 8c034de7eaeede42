/* The modules in a guest's memory: what comes out of good ones, of forged ones, and of those
 * that come and go meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/memory/kmodules.h"
#include "tests/unit/lib/collect.h"
#include "tests/unit/lib/modulemaker.h"
#include "tests/unit/lib/pagedram.h"

#define VA   0xffffffffc0000000ULL
#define SIZE (2u << 20)

/* A guest with a stretch of memory that holds modules. */
struct scene {
	struct pagedram ram;
	struct modulemaker mm;
};

static void scene_init(struct scene *g, int layout, size_t size)
{
	pagedram_init(&g->ram, VA, size);
	modulemaker_init(&g->mm, &modulemaker_layouts[layout], pagedram_window(&g->ram), size, VA);
}

static void scene_deinit(struct scene *g)
{
	pagedram_deinit(&g->ram);
}

static int read_scene(struct scene *g, struct kmodules **ret, struct errmsg *why)
{
	pagedram_reopen(&g->ram);
	return kmodules_read(&g->ram.paging, g->mm.s, &g->mm.roots, ret, why);
}

static struct kmodules *must_read(struct scene *g)
{
	struct kmodules *m = NULL;
	struct errmsg why = {0};
	int r = read_scene(g, &m, &why);

	if (r < 0)
		fail_msg("%d: %s", r, why.text);
	return m;
}

/* Everything that a guest shows. */
static void show(struct scene *g, struct collect *c)
{
	struct kmodules *m = must_read(g);
	struct source_sink sink = collect_sink(c);

	assert_int_equal(sink.begin(sink.ctx, GUEST_FILE_KALLSYMS, NULL), 0);
	assert_int_equal(kmodules_deliver_kallsyms(m, &sink), 0);
	assert_int_equal(kmodules_deliver_modules(m, &sink), 0);
	assert_int_equal(kmodules_deliver_notes(m, &sink), 0);
	kmodules_destroy(m);
}

static void assert_text(const struct collect *c, enum guest_file file, const char *text)
{
	assert_string_equal(c->files[file].data, text);
	assert_int_equal(c->files[file].len, strlen(text));
}

/* Fails unless the guest shows just these texts. NULL: not looked at. */
static void assert_shows(struct scene *g, const char *modules, const char *kallsyms)
{
	struct collect c;

	collect_init(&c);
	show(g, &c);
	assert_int_equal(c.times[GUEST_FILE_MODULES], 1);
	if (modules)
		assert_text(&c, GUEST_FILE_MODULES, modules);
	if (kallsyms)
		assert_text(&c, GUEST_FILE_KALLSYMS, kallsyms);
	collect_deinit(&c);
}

static const struct modulemaker_symbol virtio_symbols[] = {
	{"register_virtio_driver", 0xffffffffc0446010, 't', true},
	{"", 0xffffffffc0446020, 't', false}, /* some have no name, and no line */
	{"virtio_bus", 0xffffffffc0449000, 'd', true},
	{"virtio_dev_alias", 0xffffffffc0446010, 't', false}, /* exported, but by another name */
	{"__UNIQUE_ID_license.0", 0xffffffffc0448000, 'r', false},
	{"ABS", 0x1f, 'A', false}, /* becomes lower case */
	{"odd", 0xffffffffc0448010, '?', false},
	{"virtio_first", 0xffffffffc0446000, 't', true}, /* before the others' values */
};
static const struct modulemaker_symbol net_symbols[] = {
	{"virtnet_poll", 0xffffffffc045f000, 't', false},
	{"napi_weight", 0xffffffffc0465000, 'b', false},
};
static const uint8_t note[] = {4, 0, 0,	  0,   4,   0, 0,    0,	   3, 0,
			       0, 0, 'G', 'N', 'U', 0, 0xde, 0xad, 1, 2};

static const struct modulemaker_module virtio = {
	.name = "virtio",
	.symbols = virtio_symbols,
	.count = ARRAY_SIZE(virtio_symbols),
	.base = 0xffffffffc0446000,
	.size = 20480,
	.use_count = 2,
	.note = note,
	.note_len = sizeof(note),
};
static const struct modulemaker_module virtio_net = {
	.name = "virtio_net",
	.symbols = net_symbols,
	.count = ARRAY_SIZE(net_symbols),
	.base = 0xffffffffc045f000,
	.size = 73728,
};

static const char two_kallsyms[] = "ffffffffc045f000 t virtnet_poll\t[virtio_net]\n"
				   "ffffffffc0465000 b napi_weight\t[virtio_net]\n"
				   "ffffffffc0446010 T register_virtio_driver\t[virtio]\n"
				   "ffffffffc0449000 D virtio_bus\t[virtio]\n"
				   "ffffffffc0446010 t virtio_dev_alias\t[virtio]\n"
				   "ffffffffc0448000 r __UNIQUE_ID_license.0\t[virtio]\n"
				   "000000000000001f a ABS\t[virtio]\n"
				   "ffffffffc0448010 ? odd\t[virtio]\n"
				   "ffffffffc0446000 T virtio_first\t[virtio]\n";
static const char two_modules[] = "virtio_net 73728 0 - Live 0xffffffffc045f000\n"
				  "virtio 20480 2 virtio_net, Live 0xffffffffc0446000\n";

/* The newest first, as the kernel lists them. Returns virtio's address. */
static uint64_t add_two(struct scene *g)
{
	uint64_t net = modulemaker_add(&g->mm, &virtio_net);
	uint64_t bus = modulemaker_add(&g->mm, &virtio);

	if (g->mm.s->module_source_list != KSTRUCT_NONE)
		modulemaker_use(&g->mm, bus, net);
	return bus;
}

static void test_two_modules(void **state)
{
	(void)state;
	for (int layout = MODULEMAKER_OLD; layout <= MODULEMAKER_NEW; layout++) {
		struct scene g;
		struct kmodules *m;

		scene_init(&g, layout, SIZE);
		add_two(&g);
		m = must_read(&g);
		assert_int_equal(kmodules_count(m), 2);
		kmodules_destroy(m);
		assert_shows(&g, two_modules, two_kallsyms);
		scene_deinit(&g);
	}
}

/* No unloading, no BPF, no build-ids; types in the symbols. */
static void test_plain_kernel(void **state)
{
	struct scene g;

	(void)state;
	scene_init(&g, MODULEMAKER_PLAIN, SIZE);
	add_two(&g);
	assert_shows(&g,
		     "virtio_net 73728 - - Live 0xffffffffc045f000\n"
		     "virtio 20480 - - Live 0xffffffffc0446000\n",
		     two_kallsyms);
	scene_deinit(&g);
}

static void test_no_modules(void **state)
{
	struct scene g;

	(void)state;
	scene_init(&g, MODULEMAKER_NEW, SIZE);
	assert_shows(&g, "", "");
	scene_deinit(&g);
}

static void test_module_without_symbols(void **state)
{
	struct modulemaker_module m = virtio_net;
	struct scene g;

	(void)state;
	m.count = 0;
	scene_init(&g, MODULEMAKER_NEW, SIZE);
	modulemaker_add(&g.mm, &m);
	assert_shows(&g, "virtio_net 73728 0 - Live 0xffffffffc045f000\n", "");
	scene_deinit(&g);
}

/* What else m_show() has to say. */
static void test_states_and_taints(void **state)
{
	struct modulemaker_module m = virtio_net;
	struct scene g;
	uint64_t forming;

	(void)state;
	m.count = 0;
	scene_init(&g, MODULEMAKER_OLD, SIZE);
	m.name = "forming"; /* nobody is told of it yet */
	m.state = 3;
	forming = modulemaker_add(&g.mm, &m);
	modulemaker_put_u64(&g.mm, forming + g.mm.s->module_kallsyms, 0);
	m.name = "loading";
	m.state = 1;
	m.taints = 1u << 12 | 1u << 13;
	modulemaker_add(&g.mm, &m);
	m.name = "going";
	m.state = 2;
	m.taints = 1u << 0;
	m.use_count = (uint32_t)-1;
	modulemaker_add(&g.mm, &m);
	m.name = "staying";
	m.state = 0;
	m.permanent = true;
	m.use_count = 1;
	m.taints = 0xffffffffffffffff;
	modulemaker_use(&g.mm, modulemaker_add(&g.mm, &m), forming);
	m.name = "alone";
	m.taints = 1u << 9; /* of the kernel, not of a module */
	modulemaker_add(&g.mm, &m);
	assert_shows(&g,
		     "loading 73728 0 - Loading 0xffffffffc045f000 (OE+)\n"
		     "going 73728 -1 - Unloading 0xffffffffc045f000 (P-)\n"
		     "staying 73728 1 forming,[permanent], Live 0xffffffffc045f000 (PFCOEKXTNJ)\n"
		     "alone 73728 1 [permanent], Live 0xffffffffc045f000 ()\n",
		     "");
	scene_deinit(&g);
}

static void test_notes(void **state)
{
	(void)state;
	for (int layout = MODULEMAKER_OLD; layout <= MODULEMAKER_NEW; layout++) {
		struct collect c;
		struct scene g;

		collect_init(&c);
		scene_init(&g, layout, SIZE);
		add_two(&g);
		show(&g, &c);
		assert_string_equal(c.modules.data, "virtio "); /* virtio_net has none */
		collect_assert(&c, GUEST_FILE_MODULE_NOTE, 1, note, sizeof(note));
		collect_deinit(&c);
		scene_deinit(&g);
	}
}

/* A build-id that cannot be read takes nothing else with it. */
static void test_bad_note(void **state)
{
	struct collect c;
	struct scene g;
	uint64_t bus;

	(void)state;
	collect_init(&c);
	scene_init(&g, MODULEMAKER_NEW, SIZE);
	bus = add_two(&g);
	modulemaker_put_u64(&g.mm, bus + g.mm.s->module_notes_attrs, VA - 4096);
	show(&g, &c);
	assert_int_equal(c.times[GUEST_FILE_MODULE_NOTE], 0);
	assert_text(&c, GUEST_FILE_KALLSYMS, two_kallsyms);
	collect_deinit(&c);
	scene_deinit(&g);
}

/* One that is being loaded has its symbols elsewhere. */
static void test_loading_module(void **state)
{
	struct modulemaker_module m = virtio_net;
	struct scene g;

	(void)state;
	m.state = 1;
	scene_init(&g, MODULEMAKER_NEW, SIZE);
	modulemaker_add(&g.mm, &m);
	assert_shows(&g, "virtio_net 73728 0 - Loading 0xffffffffc045f000\n",
		     "ffffffffc045f000 t virtnet_poll\t[virtio_net]\n"
		     "ffffffffc0465000 b napi_weight\t[virtio_net]\n");
	scene_deinit(&g);
}

/* The last name ends at the end of a page, or wherever else there. */
static void test_names_across_pages(void **state)
{
	(void)state;
	for (size_t pad = 0; pad < 4096; pad += 16) {
		struct scene g;

		scene_init(&g, MODULEMAKER_NEW, SIZE);
		if (pad > 0)
			modulemaker_alloc(&g.mm, pad);
		add_two(&g);
		assert_shows(&g, two_modules, two_kallsyms);
		scene_deinit(&g);
	}
}

/* The kernel cuts names at KSYM_NAME_LEN - 1, wherever they are in the table of names. */
static void test_long_names(void **state)
{
	char lengthy[301];
	struct modulemaker_symbol symbols[] = {{lengthy, 0x10, 't', true},
					       {lengthy, 0x20, 't', false}};
	struct modulemaker_module m = virtio_net;
	CLEANUP_FREE char *text = NULL;
	struct scene g;

	(void)state;
	memset(lengthy, 'n', sizeof(lengthy) - 1);
	lengthy[sizeof(lengthy) - 1] = '\0';
	m.symbols = symbols;
	assert_true(asprintf(&text,
			     "0000000000000010 t %.127s\t[virtio_net]\n"
			     "0000000000000020 t %.127s\t[virtio_net]\n",
			     lengthy, lengthy) > 0);
	for (size_t pad = 16; pad < 4096; pad += 16) {
		scene_init(&g, MODULEMAKER_OLD, SIZE);
		modulemaker_alloc(&g.mm, pad);
		modulemaker_add(&g.mm, &m);
		assert_shows(&g, NULL, text);
		scene_deinit(&g);
	}
}

static void test_bpf(void **state)
{
	static const char lines[] =
		"ffffffffc0800000 t bpf_prog_6deef7357e7b4530_sd_devices\t[bpf]\n"
		"ffffffffc0801000 t bpf_trampoline_6442\t[bpf]\n";
	const int harden = KMODULES_ROOT_BPF_JIT_HARDEN, shown = KMODULES_ROOT_BPF_JIT_KALLSYMS;
	uint64_t second;
	struct scene g;

	(void)state;
	scene_init(&g, MODULEMAKER_NEW, SIZE);
	modulemaker_add_bpf(&g.mm, "bpf_prog_6deef7357e7b4530_sd_devices", 0xffffffffc0800000);
	second = modulemaker_add_bpf(&g.mm, "bpf_trampoline_6442", 0xffffffffc0801000);
	assert_shows(&g, "", lines);

	modulemaker_put_u32(&g.mm, g.mm.roots.va[harden], 1);
	assert_shows(&g, "", "");
	modulemaker_put_u32(&g.mm, g.mm.roots.va[harden], 0);
	modulemaker_put_u32(&g.mm, g.mm.roots.va[shown], 0);
	assert_shows(&g, "", "");
	modulemaker_put_u32(&g.mm, g.mm.roots.va[shown], 1);

	/* A list that makes no sense is left out. */
	modulemaker_put_u64(&g.mm, second + g.mm.s->bpf_ksym_lnode + 8, VA);
	assert_shows(&g, "", "");
	modulemaker_put_u64(&g.mm, second + g.mm.s->bpf_ksym_lnode,
			    second + g.mm.s->bpf_ksym_lnode);
	assert_shows(&g, "", "");
	g.mm.roots.va[KMODULES_ROOT_BPF_KALLSYMS] = 0;
	assert_shows(&g, "", "");
	scene_deinit(&g);
}

/* What else the kernel makes while it runs, in its order; each list stands for itself. */
static void test_tracers(void **state)
{
	static const char lines[] =
		"ffffffffc0900000 t ftrace_trampoline\t[__builtin__ftrace]\n"
		"ffffffffc0800000 t bpf_prog_1\t[bpf]\n"
		"ffffffffc0700000 t kprobe_insn_page\t[__builtin__kprobes]\n"
		"ffffffffc0701000 t kprobe_insn_page\t[__builtin__kprobes]\n"
		"ffffffffc0702000 t kprobe_optinsn_page\t[__builtin__kprobes]\n";

	(void)state;
	for (int layout = MODULEMAKER_OLD; layout <= MODULEMAKER_NEW; layout++) {
		struct scene g;

		scene_init(&g, layout, SIZE);
		modulemaker_add_kprobes(&g.mm, KMODULES_ROOT_KPROBE_OPT_SLOTS, 0xffffffffc0702000);
		modulemaker_add_kprobes(&g.mm, KMODULES_ROOT_KPROBE_SLOTS, 0xffffffffc0700000);
		modulemaker_add_kprobes(&g.mm, KMODULES_ROOT_KPROBE_SLOTS, 0xffffffffc0701000);
		modulemaker_add_bpf(&g.mm, "bpf_prog_1", 0xffffffffc0800000);
		modulemaker_add_trampoline(&g.mm, 0);
		modulemaker_add_trampoline(&g.mm, 0xffffffffc0900000);
		assert_shows(&g, "", lines);
		g.mm.roots.va[KMODULES_ROOT_FTRACE_TRAMPOLINES] = VA - 4096;
		assert_shows(&g, "", strchr(lines, '\n') + 1);
		scene_deinit(&g);
	}
}

/* ---- forged ---- */

/* Fails unless these modules are refused, for what is said, after few reads. */
static void assert_refused(struct scene *g, const char *what)
{
	struct kmodules *m = NULL;
	struct errmsg why = {0};

	assert_int_equal(read_scene(g, &m, &why), -EBADMSG);
	assert_null(m);
	assert_int_equal(why.code, -EBADMSG);
	if (!strstr(why.text, what))
		fail_msg("\"%s\" says nothing of \"%s\"", why.text, what);
	assert_true(g->ram.reads < 2000);
}

struct forgery {
	const char *name;
	void (*forge)(struct scene *g, uint64_t module);
	const char *said;
};

static uint64_t kallsyms_of(const struct scene *g, uint64_t module)
{
	return modulemaker_u64(&g->mm, module + g->mm.s->module_kallsyms);
}

static void forge_loop(struct scene *g, uint64_t module)
{
	uint64_t entry = module + g->mm.s->module_list;

	modulemaker_put_u64(&g->mm, entry, entry);
}

/* Into the middle again: no entry but the first links back to it. */
static void forge_rho(struct scene *g, uint64_t module)
{
	uint64_t entry = module + g->mm.s->module_list;
	uint64_t first = modulemaker_u64(&g->mm, g->mm.roots.va[KMODULES_ROOT_MODULES]);

	modulemaker_put_u64(&g->mm, entry, first);
}

static void forge_nowhere(struct scene *g, uint64_t module)
{
	modulemaker_put_u64(&g->mm, module + g->mm.s->module_list, 0xdead000000000100);
}

static void forge_unaligned(struct scene *g, uint64_t module)
{
	uint64_t entry = module + g->mm.s->module_list;

	modulemaker_put_u64(&g->mm, entry, entry + 4);
}

static void forge_name(struct scene *g, uint64_t module)
{
	strcpy(modulemaker_at(&g->mm, module + g->mm.s->module_name), "../x");
}

static void forge_endless_name(struct scene *g, uint64_t module)
{
	memset(modulemaker_at(&g->mm, module + g->mm.s->module_name), 'n', 56);
}

static void forge_state(struct scene *g, uint64_t module)
{
	modulemaker_put_u32(&g->mm, module + g->mm.s->module_state, 4);
}

static void forge_kallsyms(struct scene *g, uint64_t module)
{
	modulemaker_put_u64(&g->mm, module + g->mm.s->module_kallsyms, 0);
}

static void forge_symbol_count(struct scene *g, uint64_t module)
{
	modulemaker_put_u32(&g->mm, kallsyms_of(g, module) + g->mm.s->mod_kallsyms_num_symtab,
			    0xffffffff);
}

/* As many as may be: they do not lie there. */
static void forge_symbols_outside(struct scene *g, uint64_t module)
{
	modulemaker_put_u32(&g->mm, kallsyms_of(g, module) + g->mm.s->mod_kallsyms_num_symtab,
			    KMODULES_SYMBOLS_MAX);
}

static void forge_strtab(struct scene *g, uint64_t module)
{
	modulemaker_put_u64(&g->mm, kallsyms_of(g, module) + g->mm.s->mod_kallsyms_strtab,
			    VA + SIZE - 4);
}

static uint64_t second_symbol(const struct scene *g, uint64_t module)
{
	return 24 + modulemaker_u64(&g->mm, kallsyms_of(g, module) + g->mm.s->mod_kallsyms_symtab);
}

static void forge_name_offset(struct scene *g, uint64_t module)
{
	modulemaker_put_u32(&g->mm, second_symbol(g, module), 0x7fffffff);
}

static void forge_symbol_name(struct scene *g, uint64_t module)
{
	uint64_t strtab =
		modulemaker_u64(&g->mm, kallsyms_of(g, module) + g->mm.s->mod_kallsyms_strtab);

	memcpy(modulemaker_at(&g->mm, strtab + 3), "\n", 1);
}

static void forge_symbol_type(struct scene *g, uint64_t module)
{
	uint64_t typetab =
		modulemaker_u64(&g->mm, kallsyms_of(g, module) + g->mm.s->mod_kallsyms_typetab);

	memcpy(modulemaker_at(&g->mm, typetab + 1), "\n", 1);
}

static void forge_export_count(struct scene *g, uint64_t module)
{
	modulemaker_put_u32(&g->mm, module + g->mm.s->module_num_syms, 0x80000000);
}

static void forge_exports(struct scene *g, uint64_t module)
{
	modulemaker_put_u64(&g->mm, module + g->mm.s->module_syms, 0x1000);
}

static void forge_export_name(struct scene *g, uint64_t module)
{
	uint64_t syms = modulemaker_u64(&g->mm, module + g->mm.s->module_syms);

	modulemaker_put_u32(&g->mm, syms + g->mm.s->kernel_symbol_name, 0x70000000);
}

/* Each is there, and what lies between them, too. */
static void forge_export_names_apart(struct scene *g, uint64_t module)
{
	uint64_t syms = modulemaker_u64(&g->mm, module + g->mm.s->module_syms);
	uint64_t at = syms + g->mm.s->kernel_symbol_name;

	modulemaker_put_u32(&g->mm, at, (uint32_t)(VA + SIZE - 64 - at));
	at += g->mm.s->kernel_symbol_size;
	modulemaker_put_u32(&g->mm, at, (uint32_t)(VA - at));
}

static void forge_use_loop(struct scene *g, uint64_t module)
{
	uint64_t use = modulemaker_u64(&g->mm, module + g->mm.s->module_source_list);

	modulemaker_put_u64(&g->mm, use, use);
}

static void forge_user(struct scene *g, uint64_t module)
{
	uint64_t use = modulemaker_u64(&g->mm, module + g->mm.s->module_source_list) -
		       g->mm.s->module_use_source_list;

	modulemaker_put_u64(&g->mm, use + g->mm.s->module_use_source, module + 8);
}

static const struct forgery forgeries[] = {
	{"a loop", forge_loop, "the list of modules"},
	{"a loop behind a beginning", forge_rho, "the list of modules"},
	{"a link to nowhere", forge_nowhere, "the list of modules"},
	{"a link to the middle of something", forge_unaligned, "the list of modules"},
	{"a name that is a path", forge_name, "the list of modules"},
	{"a name without end", forge_endless_name, "the list of modules"},
	{"an unknown state", forge_state, "the list of modules"},
	{"no symbols", forge_kallsyms, "the symbol table of module virtio "},
	{"billions of symbols", forge_symbol_count, "the symbol table of module virtio "},
	{"symbols outside of memory", forge_symbols_outside, "the symbol table of module virtio "},
	{"names that end with memory", forge_strtab, "the symbol table of module virtio "},
	{"a name far behind all others", forge_name_offset, "the symbol table of module virtio "},
	{"a name of two lines", forge_symbol_name, "the symbol table of module virtio "},
	{"a type that is a newline", forge_symbol_type, "the symbol table of module virtio "},
	{"billions of exports", forge_export_count, "the table of exports of module virtio "},
	{"exports outside", forge_exports, "the table of exports of module virtio "},
	{"exports' names far apart", forge_export_names_apart,
	 "the table of exports of module virtio "},
	{"an export's name outside", forge_export_name, "the table of exports of module virtio "},
	{"a loop of users", forge_use_loop, "the users of module virtio "},
	{"a user that is no module", forge_user, "the users of module virtio "},
};

static void test_forged(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(forgeries); i++) {
		for (int layout = MODULEMAKER_OLD; layout <= MODULEMAKER_NEW; layout++) {
			struct scene g;

			scene_init(&g, layout, SIZE);
			forgeries[i].forge(&g, add_two(&g));
			print_message("%s\n", forgeries[i].name);
			assert_refused(&g, forgeries[i].said);
			scene_deinit(&g);
		}
	}
}

/* A list that never comes to an end, each link of it right. */
static void test_too_many_modules(void **state)
{
	struct modulemaker_module m = virtio_net;
	struct kmodules *ret = NULL;
	struct errmsg why = {0};
	struct scene g;

	(void)state;
	m.count = 0;
	scene_init(&g, MODULEMAKER_PLAIN, 4u << 20);
	for (int i = 0; i < KMODULES_MAX; i++)
		modulemaker_add(&g.mm, &m);
	kmodules_destroy(must_read(&g));
	modulemaker_add(&g.mm, &m);
	assert_int_equal(read_scene(&g, &ret, &why), -EBADMSG);
	scene_deinit(&g);
}

/* Whether each of many symbols is exported is found out without looking at all the exports that
 * share its address: that would take minutes of a CPU where there are as many as there may be. */
static void test_exports_at_one_address(void **state)
{
	enum { COUNT = 60000 };
	struct modulemaker_symbol *symbols = calloc(COUNT, sizeof(*symbols));
	struct modulemaker_module m = virtio_net;
	char(*names)[8] = calloc(COUNT, sizeof(*names));
	struct collect c;
	struct scene g;
	clock_t began;

	(void)state;
	for (unsigned i = 0; i < COUNT; i++) {
		/* Not in their order; every other one is exported. */
		snprintf(names[i], sizeof(names[i]), "n%x", i * 40503u & 0xffff);
		symbols[i] = (struct modulemaker_symbol){names[i], 0xffffffffc045f000, 't', i % 2};
	}
	m.symbols = symbols;
	m.count = COUNT;
	scene_init(&g, MODULEMAKER_OLD, 8u << 20);
	modulemaker_add(&g.mm, &m);
	collect_init(&c);
	began = clock();
	show(&g, &c);
	assert_true(clock() - began < 2 * CLOCKS_PER_SEC);
	assert_non_null(strstr(c.files[GUEST_FILE_KALLSYMS].data, " t n0\t[virtio_net]\n"));
	assert_non_null(strstr(c.files[GUEST_FILE_KALLSYMS].data, " T n9e37\t[virtio_net]\n"));
	assert_non_null(strstr(c.files[GUEST_FILE_KALLSYMS].data, " t n3c6e\t[virtio_net]\n"));
	collect_deinit(&c);
	scene_deinit(&g);
	free(symbols);
	free(names);
}

/* ---- changing ---- */

/* Does something to the guest before the read of this number. */
struct change {
	struct scene *g;
	unsigned long at;
	void (*make)(struct scene *g);
	bool always; /* from then on before each read */
	int error;   /* of that read */
};

static int before_read(void *ctx, unsigned long read)
{
	struct change *c = ctx;

	if (read != c->at && !(c->always && read > c->at))
		return 0;
	if (c->make)
		c->make(c->g);
	return c->error;
}

static void unload_virtio_net(struct scene *g)
{
	uint64_t first = modulemaker_u64(&g->mm, g->mm.roots.va[KMODULES_ROOT_MODULES]);
	uint64_t net = first - g->mm.s->module_list, bus, uses;

	modulemaker_remove(&g->mm, net);
	first = modulemaker_u64(&g->mm, g->mm.roots.va[KMODULES_ROOT_MODULES]);
	bus = first - g->mm.s->module_list;
	uses = bus + g->mm.s->module_source_list;
	modulemaker_list_init(&g->mm, uses);
	modulemaker_put_u32(&g->mm, bus + g->mm.s->module_refcnt, 1);
	/* What was there is gone: poison, as the kernel and its allocator leave it. */
	memset(modulemaker_at(&g->mm, net), 0x6b, g->mm.s->module_size);
}

/* Whenever it happens, what comes out is what was there before or after, and nothing else. */
static void test_unload_meanwhile(void **state)
{
	unsigned long reads, old = 0, new = 0;

	(void)state;
	for (unsigned long at = 0, end = 1; at < end; at++) {
		struct change change = {.at = at, .make = unload_virtio_net};
		struct collect c;
		struct scene g;

		scene_init(&g, MODULEMAKER_NEW, SIZE);
		change.g = &g;
		g.ram.before = before_read;
		g.ram.ctx = &change;
		add_two(&g);
		collect_init(&c);
		show(&g, &c);
		reads = g.ram.reads;
		if (strcmp(c.files[GUEST_FILE_KALLSYMS].data, two_kallsyms) == 0) {
			assert_text(&c, GUEST_FILE_MODULES, two_modules);
			old++;
		} else {
			assert_text(&c, GUEST_FILE_KALLSYMS,
				    strstr(two_kallsyms, "ffffffffc0446010 T"));
			assert_text(&c, GUEST_FILE_MODULES,
				    "virtio 20480 0 - Live 0xffffffffc0446000\n");
			new ++;
		}
		end = reads > at ? at + 2 : at + 1; /* until it happens behind all reads */
		collect_deinit(&c);
		scene_deinit(&g);
	}
	assert_true(new > 10 && old > 0);
}

static void load_and_unload(struct scene *g)
{
	uint64_t tree = g->mm.roots.va[KMODULES_ROOT_MOD_TREE] + g->mm.s->latch_root_seq;
	uint32_t v;

	memcpy(&v, modulemaker_at(&g->mm, tree), sizeof(v));
	modulemaker_put_u32(&g->mm, tree, v + 4);
}

static void test_never_at_rest(void **state)
{
	struct scene g;
	struct change change = {.g = &g, .make = load_and_unload, .always = true};
	struct kmodules *m = NULL;
	struct errmsg why = {0};

	(void)state;
	scene_init(&g, MODULEMAKER_NEW, SIZE);
	add_two(&g);
	g.ram.before = before_read;
	g.ram.ctx = &change;
	assert_int_equal(read_scene(&g, &m, &why), -EAGAIN);
	assert_non_null(strstr(why.text, "loaded or unloaded"));
	scene_deinit(&g);
}

static void count_use(struct scene *g)
{
	uint64_t first = modulemaker_u64(&g->mm, g->mm.roots.va[KMODULES_ROOT_MODULES]);
	uint64_t refcnt = first - g->mm.s->module_list + g->mm.s->module_refcnt;
	uint32_t v;

	memcpy(&v, modulemaker_at(&g->mm, refcnt), sizeof(v));
	modulemaker_put_u32(&g->mm, refcnt, v + 1);
}

/* Use counts move all the time, which is no change. */
static void test_use_counts_move(void **state)
{
	struct scene g;
	struct change change = {.g = &g, .make = count_use, .always = true};

	(void)state;
	scene_init(&g, MODULEMAKER_NEW, SIZE);
	add_two(&g);
	g.ram.before = before_read;
	g.ram.ctx = &change;
	assert_shows(&g, NULL, two_kallsyms);
	scene_deinit(&g);
}

/* What is no fault of the guest's comes out as it is, from wherever it is read, at once. */
static void test_read_errors(void **state)
{
	static const int errors[] = {-ESRCH, -ETIMEDOUT, -ECANCELED, -EIO};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		bool failed = true;

		for (unsigned long at = 0; failed; at++) {
			struct change change = {.at = at, .error = errors[i]};
			struct kmodules *m = NULL;
			struct errmsg why = {0};
			struct scene g;
			int r;

			scene_init(&g, MODULEMAKER_OLD, SIZE);
			modulemaker_add_bpf(&g.mm, "bpf_prog_1", 0xffffffffc0800000);
			add_two(&g);
			change.g = &g;
			g.ram.before = before_read;
			g.ram.ctx = &change;
			r = read_scene(&g, &m, &why);
			failed = g.ram.reads > at;
			assert_int_equal(r, failed ? errors[i] : 0);
			assert_int_equal(why.code, r);
			assert_int_equal(g.ram.reads, failed ? at + 1 : at);
			kmodules_destroy(m);
			scene_deinit(&g);
		}
	}
}

/* ---- looking ---- */

static bool has_changed(struct scene *g, const struct kmodules_mark *mark)
{
	bool changed = false;

	pagedram_reopen(&g->ram);
	assert_int_equal(kmodules_look(&g->ram.paging, mark, &changed), 0);
	assert_true(g->ram.reads <= 3 * 5);
	return changed;
}

static void test_look(void **state)
{
	(void)state;
	for (int layout = 0; layout < MODULEMAKER_LAYOUTS; layout++) {
		struct kmodules_mark mark, none;
		struct kmodules *m;
		struct scene g;
		uint64_t bus;

		scene_init(&g, layout, SIZE);
		m = must_read(&g);
		kmodules_get_mark(m, &none);
		kmodules_destroy(m);
		assert_false(has_changed(&g, &none));
		bus = add_two(&g);
		assert_true(has_changed(&g, &none));

		m = must_read(&g);
		kmodules_get_mark(m, &mark);
		kmodules_destroy(m);
		assert_false(has_changed(&g, &mark));
		modulemaker_remove(&g.mm, bus);
		assert_true(has_changed(&g, &mark));
		scene_deinit(&g);
	}
}

/* Where the list's ends stay as they are only the tree's sequence tells. */
static void test_look_at_the_middle(void **state)
{
	struct kmodules_mark mark;
	struct kmodules *m;
	struct scene g;
	uint64_t middle;

	(void)state;
	scene_init(&g, MODULEMAKER_NEW, SIZE);
	modulemaker_add(&g.mm, &virtio);
	middle = modulemaker_add(&g.mm, &virtio_net);
	modulemaker_add(&g.mm, &virtio);
	m = must_read(&g);
	kmodules_get_mark(m, &mark);
	kmodules_destroy(m);
	assert_false(has_changed(&g, &mark));
	modulemaker_remove(&g.mm, middle);
	assert_true(has_changed(&g, &mark));
	scene_deinit(&g);
}

/* A module that was being loaded has come to live. */
static void test_look_at_the_newest(void **state)
{
	struct modulemaker_module loading = virtio;
	struct kmodules_mark mark;
	struct kmodules *m;
	struct scene g;
	uint64_t va;

	(void)state;
	loading.state = 1;
	scene_init(&g, MODULEMAKER_OLD, SIZE);
	va = modulemaker_add(&g.mm, &loading);
	m = must_read(&g);
	kmodules_get_mark(m, &mark);
	kmodules_destroy(m);
	assert_false(has_changed(&g, &mark));
	modulemaker_put_u32(&g.mm, va + g.mm.s->module_state, 0);
	assert_true(has_changed(&g, &mark));
	scene_deinit(&g);
}

/* Nothing to be looked at is no change; what cannot be read is said. */
static void test_look_without(void **state)
{
	struct kmodules_mark mark = {0};
	bool changed = true;
	struct scene g;

	(void)state;
	scene_init(&g, MODULEMAKER_OLD, SIZE);
	assert_false(has_changed(&g, &mark));
	mark.head_va = VA - 4096;
	assert_int_equal(kmodules_look(&g.ram.paging, &mark, &changed), -EFAULT);
	scene_deinit(&g);
}

/* ---- how much is read ---- */

/* 100 modules of 400 symbols: tables are read whole, so reads count by pages and modules. */
static void test_reads_are_large(void **state)
{
	static struct modulemaker_symbol symbols[400];
	static char names[400][32];
	struct modulemaker_module m = virtio_net;
	struct scene g;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(symbols); i++) {
		snprintf(names[i], sizeof(names[i]), "some_function_of_a_module_%zu", i);
		symbols[i] = (struct modulemaker_symbol){names[i], 0xffffffffc0000000 + i, 't',
							 i % 20 == 0};
	}
	m.symbols = symbols;
	m.count = ARRAY_SIZE(symbols);
	scene_init(&g, MODULEMAKER_NEW, 4u << 20);
	for (int i = 0; i < 100; i++)
		modulemaker_add(&g.mm, &m);
	kmodules_destroy(must_read(&g));
	print_message("%lu reads\n", g.ram.reads);
	assert_true(g.ram.reads < 100 * 30);
	scene_deinit(&g);
}

/* The sink's refusal ends the delivery. */
static void test_sink_refuses(void **state)
{
	struct collect c;
	struct source_sink sink;
	struct kmodules *m;
	struct scene g;

	(void)state;
	scene_init(&g, MODULEMAKER_NEW, SIZE);
	add_two(&g);
	m = must_read(&g);
	collect_init(&c);
	c.fail_at = 1;
	c.fail_with = -EFBIG;
	sink = collect_sink(&c);
	assert_int_equal(kmodules_deliver_modules(m, &sink), -EFBIG);
	c.begins = 0;
	assert_int_equal(kmodules_deliver_notes(m, &sink), -EFBIG);
	buf_deinit(&c.files[GUEST_FILE_KALLSYMS]);
	buf_init(&c.files[GUEST_FILE_KALLSYMS], 10);
	c.current = GUEST_FILE_KALLSYMS;
	assert_int_equal(kmodules_deliver_kallsyms(m, &sink), -EFBIG);
	collect_deinit(&c);
	kmodules_destroy(m);
	scene_deinit(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_modules),
		cmocka_unit_test(test_plain_kernel),
		cmocka_unit_test(test_no_modules),
		cmocka_unit_test(test_module_without_symbols),
		cmocka_unit_test(test_states_and_taints),
		cmocka_unit_test(test_notes),
		cmocka_unit_test(test_bad_note),
		cmocka_unit_test(test_loading_module),
		cmocka_unit_test(test_names_across_pages),
		cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_bpf),
		cmocka_unit_test(test_tracers),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_too_many_modules),
		cmocka_unit_test(test_exports_at_one_address),
		cmocka_unit_test(test_unload_meanwhile),
		cmocka_unit_test(test_never_at_rest),
		cmocka_unit_test(test_use_counts_move),
		cmocka_unit_test(test_read_errors),
		cmocka_unit_test(test_look),
		cmocka_unit_test(test_look_at_the_middle),
		cmocka_unit_test(test_look_at_the_newest),
		cmocka_unit_test(test_look_without),
		cmocka_unit_test(test_reads_are_large),
		cmocka_unit_test(test_sink_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
