#include "fs/options.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/base/text.h"
#include "symsrc/source.h"

enum origin { FROM_CONFIG, FROM_COMMAND };

struct option_def {
	const char *name;
	char letter; /* 0: none */
	bool in_config;
	const char *arg; /* what --help calls its value; NULL: a switch */
	/* Checks and keeps the value (NULL for a switch). */
	int (*set)(struct options *o, enum origin from, const char *value, struct errmsg *why);
	const char *help;
};

/* -- values ------------------------------------------------------------------------------ */

static int no_memory(struct errmsg *why)
{
	return errmsg_set(why, -ENOMEM, "out of memory");
}

static int keep(char **to, const char *value, struct errmsg *why)
{
	char *copy = strdup(value);

	if (!copy)
		return no_memory(why);
	free(*to);
	*to = copy;
	return 0;
}

static int set_foreground(struct options *o, enum origin from, const char *value,
			  struct errmsg *why)
{
	(void)from, (void)value, (void)why;
	o->foreground = true;
	return 0;
}

static int set_debug(struct options *o, enum origin from, const char *value, struct errmsg *why)
{
	(void)from, (void)value, (void)why;
	o->debug = o->foreground = true;
	return 0;
}

static int set_help(struct options *o, enum origin from, const char *value, struct errmsg *why)
{
	(void)from, (void)value, (void)why;
	o->help = true;
	return 0;
}

static int set_version(struct options *o, enum origin from, const char *value, struct errmsg *why)
{
	(void)from, (void)value, (void)why;
	o->version = true;
	return 0;
}

static int set_event(struct options *o, enum origin from, const char *value, struct errmsg *why)
{
	o->event_of_command = from == FROM_COMMAND;
	if (!*value || !text_is_word(value, strlen(value)))
		return errmsg_set(why, -EINVAL,
				  "'%s' is no event: one perf event name, as perf list shows it",
				  value);
	return keep(&o->event, value, why);
}

static void note_live_only(struct options *o, enum origin from, const char *name)
{
	size_t n = strlen(o->live_only);

	if (from == FROM_COMMAND && !strstr(o->live_only, name))
		snprintf(o->live_only + n, sizeof(o->live_only) - n, "%s%s", n ? ", " : "", name);
}

static int set_freq(struct options *o, enum origin from, const char *value, struct errmsg *why)
{
	uint64_t freq;

	note_live_only(o, from, "--freq");
	if (!text_to_u64(value, 10, OPTIONS_FREQ_MAX, &freq) || freq == 0)
		return errmsg_set(why, -EINVAL, "'%s' is no frequency: 1 to %d samples a second",
				  value, OPTIONS_FREQ_MAX);
	o->freq = (unsigned)freq;
	o->freq_given = true;
	return 0;
}

/* Its place in the list; n: it is none of them. */
static size_t place_of(const char *value, const char *const *names, size_t n)
{
	size_t i = 0;

	while (i < n && strcmp(names[i], value) != 0)
		i++;
	return i;
}

static int set_sampler(struct options *o, enum origin from, const char *value, struct errmsg *why)
{
	static const char *const names[] = {
		[SAMPLER_AUTO] = "auto", [SAMPLER_PERF] = "perf", [SAMPLER_QMP] = "qmp"};
	size_t i = place_of(value, names, ARRAY_SIZE(names));

	note_live_only(o, from, "--sampler");
	if (i == ARRAY_SIZE(names))
		return errmsg_set(why, -EINVAL, "'%s' is no sampler: auto, perf or qmp", value);
	o->sampler = (enum sampler_choice)i;
	return 0;
}

static int set_exits(struct options *o, enum origin from, const char *value, struct errmsg *why)
{
	static const char *const names[] = {
		[EXITS_BY_AUTO] = "auto", [EXITS_BY_BPF] = "bpf", [EXITS_BY_PERF] = "perf"};
	size_t i = place_of(value, names, ARRAY_SIZE(names));

	note_live_only(o, from, "--exits");
	if (i == ARRAY_SIZE(names))
		return errmsg_set(why, -EINVAL,
				  "'%s' is nothing that counts exits: auto, bpf or perf", value);
	o->exits = (enum exits_choice)i;
	return 0;
}

static void free_rule(struct source_rule *r)
{
	free(r->pattern);
	free(r->uri);
}

/* Those of the command line stand before those of the file, each in their own order. */
static int add_rule(struct options *o, enum origin from, struct source_rule rule)
{
	size_t at = from == FROM_COMMAND ? o->rules_of_command : o->rule_count;
	struct source_rule *list = reallocarray(o->rules, o->rule_count + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	o->rules = list;
	memmove(&list[at + 1], &list[at], (o->rule_count - at) * sizeof(*list));
	list[at] = rule;
	o->rule_count++;
	if (from == FROM_COMMAND)
		o->rules_of_command++;
	return 0;
}

static int set_source(struct options *o, enum origin from, const char *value, struct errmsg *why)
{
	const char *uri = strchr(value, '=');
	struct source_rule rule;
	int r;

	if (!uri || uri == value)
		return errmsg_set(why, -EINVAL,
				  "'%s' is no source: PATTERN=URI, as in 'web*=ssh://root@host'",
				  value);
	if (o->rule_count >= OPTIONS_LIST_MAX)
		return errmsg_set(why, -E2BIG, "more than %d sources", OPTIONS_LIST_MAX);
	r = source_check_uri(uri + 1, why);
	if (r < 0)
		return r;
	rule.pattern = strndup(value, (size_t)(uri - value));
	rule.uri = strdup(uri + 1);
	if (rule.pattern && rule.uri && add_rule(o, from, rule) == 0)
		return 0;
	free_rule(&rule);
	return no_memory(why);
}

static int set_pid(struct options *o, enum origin from, const char *value, struct errmsg *why)
{
	uint64_t pid;
	pid_t *list;

	if (!text_to_u64(value, 10, INT32_MAX, &pid) || pid == 0)
		return errmsg_set(why, -EINVAL, "'%s' is no pid", value);
	if (o->pid_count >= OPTIONS_LIST_MAX)
		return errmsg_set(why, -E2BIG, "more than %d pids", OPTIONS_LIST_MAX);
	if (from == FROM_COMMAND && !o->pids_of_command) {
		o->pids_of_command = true;
		o->pid_count = 0;
	}
	list = reallocarray(o->pids, o->pid_count + 1, sizeof(*list));
	if (!list)
		return no_memory(why);
	o->pids = list;
	o->pids[o->pid_count++] = (pid_t)pid;
	return 0;
}

static int set_input(struct options *o, enum origin from, const char *value, struct errmsg *why)
{
	if (!*value)
		return errmsg_set(why, -EINVAL,
				  "'' is no recording: a file of perf kvm record, or - for "
				  "standard input");
	if (from == FROM_COMMAND && o->input_of_command)
		return errmsg_set(why, -EINVAL,
				  "--input %s and --input %s: one recording is served at a mount "
				  "point",
				  o->input, value);
	o->input_of_command = from == FROM_COMMAND;
	return keep(&o->input, value, why);
}

static int set_config(struct options *o, enum origin from, const char *value, struct errmsg *why)
{
	(void)from;
	return keep(&o->config, value, why);
}

/* -- mount options: ours are taken out, the others are libfuse's ------------------------- */

static int set_symbols_mode(struct options *o, const char *value, struct errmsg *why)
{
	uint64_t mode;

	if (!text_to_u64(value, 8, 0777, &mode) || (mode & ~(uint64_t)0444) || !(mode & 0400))
		return errmsg_set(why, -EINVAL,
				  "symbols_mode=%s: read permissions only, 0400, 0440 or 0444",
				  value);
	o->symbols_mode = (mode_t)mode;
	return 0;
}

static int set_gid(struct options *o, const char *value, struct errmsg *why)
{
	struct group entry, *found = NULL;
	char strings[4096];
	uint64_t gid;

	if (text_to_u64(value, 10, UINT32_MAX - 1, &gid)) {
		o->gid = (gid_t)gid;
		return 0;
	}
	if (getgrnam_r(value, &entry, strings, sizeof(strings), &found) == 0 && found) {
		o->gid = found->gr_gid;
		return 0;
	}
	return errmsg_set(why, -EINVAL, "gid=%s: there is no such group", value);
}

static int add_fuse_option(struct options *o, const char *option, struct errmsg *why)
{
	char *joined;

	if (asprintf(&joined, "%s%s%s", o->fuse_options ? o->fuse_options : "",
		     o->fuse_options ? "," : "", option) < 0)
		return no_memory(why);
	free(o->fuse_options);
	o->fuse_options = joined;
	return 0;
}

static int set_mount_option(struct options *o, const char *option, struct errmsg *why)
{
	static const char mode[] = "symbols_mode=", gid[] = "gid=";

	if (strncmp(option, mode, sizeof(mode) - 1) == 0)
		return set_symbols_mode(o, option + sizeof(mode) - 1, why);
	if (strncmp(option, gid, sizeof(gid) - 1) == 0)
		return set_gid(o, option + sizeof(gid) - 1, why);
	return add_fuse_option(o, option, why);
}

/* The length up to the next comma that no backslash stands before (fuse_opt_parse(3)). */
static size_t option_length(const char *s)
{
	size_t n = 0;

	while (s[n] && s[n] != ',')
		n += s[n] == '\\' && s[n + 1] ? 2 : 1;
	return n;
}

static int set_mount_options(struct options *o, enum origin from, const char *value,
			     struct errmsg *why)
{
	int r = 0;

	(void)from;
	while (*value && r == 0) {
		size_t n = option_length(value);
		CLEANUP_FREE char *one = strndup(value, n);

		if (!one)
			return no_memory(why);
		if (*one)
			r = set_mount_option(o, one, why);
		value += n + (value[n] == ',' ? 1 : 0);
	}
	return r;
}

/* -- the table --------------------------------------------------------------------------- */

static const struct option_def defs[] = {
	{"foreground", 'f', true, NULL, set_foreground, "stay in the foreground, log to stderr"},
	{"debug", 'd', true, NULL, set_debug, "foreground and verbose"},
	{"event", 'e', true, "EVENT", set_event,
	 "cycles, cpu-clock, instructions, any perf event name or raw rNNN;\n"
	 "auto: cycles where the host can sample guests with it, else\n"
	 "cpu-clock (default)"},
	{"freq", 'F', true, "HZ", set_freq, "samples a second on each CPU (default 997)"},
	{"sampler", 0, true, "auto|perf|qmp", set_sampler,
	 "where samples come from (default auto: perf, and qmp for a guest\n"
	 "for which perf yields none)"},
	{"exits", 0, true, "auto|bpf|perf", set_exits,
	 "what counts VM exits (default auto: BPF programs, or perf's rings\n"
	 "where the kernel refuses those)"},
	{"source", 's', true, "PATTERN=URI", set_source,
	 "where guests matching PATTERN (a pid, or a glob on the VM's name)\n"
	 "get symbols; repeatable, first match wins (default *=auto)\n"
	 "URI: auto, memory, ssh://[user@]host[:port], vsock:CID[:PORT],\n"
	 "virtio-serial:SOCKET, dir:PATH, kallsyms:PATH[,modules:PATH],\n"
	 "vmlinux:PATH[,slide:HEX]; auto, ssh:, vsock:, virtio-serial: and dir:\n"
	 "with ?modules=yes serve lib/modules, too"},
	{"pid", 'p', true, "PID", set_pid, "only this guest; repeatable (default all guests)"},
	{"input", 'i', true, "FILE", set_input,
	 "serve a recording of perf kvm record instead of live guests (- is\n"
	 "standard input); --event NAME shows another of its events than the\n"
	 "first, and --source takes dir:, kallsyms:, vmlinux: alone"},
	{"config", 0, false, "FILE", set_config,
	 "the same options, one a line (default /etc/kvmprofs.conf,\n"
	 "if it exists)"},
	{"options", 'o', true, "OPT[,OPT]", set_mount_options,
	 "FUSE mount options (allow_other, ...); and symbols_mode=0440:\n"
	 "the permissions of files with guest kernel addresses\n"
	 "(default 0400), gid=GROUP: the group of all files"},
	{"version", 'V', false, NULL, set_version, "print the version and exit"},
	{"help", 'h', false, NULL, set_help, "print this and exit"},
};

const char *options_name(size_t i)
{
	return i < ARRAY_SIZE(defs) ? defs[i].name : NULL;
}

void options_init(struct options *o)
{
	*o = (struct options){.freq = OPTIONS_DEFAULT_FREQ, .gid = (gid_t)-1};
}

void options_deinit(struct options *o)
{
	for (size_t i = 0; i < o->rule_count; i++)
		free_rule(&o->rules[i]);
	free(o->rules);
	free(o->pids);
	free(o->event);
	free(o->input);
	free(o->config);
	free(o->fuse_options);
	free(o->mountpoint);
	options_init(o);
}

/* -- the configuration file -------------------------------------------------------------- */

static const struct option_def *find_def(const char *name, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(defs); i++) {
		if (strlen(defs[i].name) == n && memcmp(defs[i].name, name, n) == 0)
			return &defs[i];
	}
	return NULL;
}

/* Behind the name: blanks, or one '=' with or without blanks. */
static char *value_of(char *after_name)
{
	char *v = after_name + strspn(after_name, " \t");

	if (*v == '=')
		v = v + 1 + strspn(v + 1, " \t");
	return v;
}

static int apply_line(struct options *o, char *line, struct errmsg *why)
{
	size_t n = strcspn(line, " \t=");
	const struct option_def *def = find_def(line, n);
	char *value = value_of(line + n);

	if (!def || !def->in_config)
		return errmsg_set(why, -EINVAL, "unknown option '%.*s'", n < 64 ? (int)n : 64,
				  line);
	if (def->arg && !*value)
		return errmsg_set(why, -EINVAL, "option '%s' needs a value: %s", def->name,
				  def->arg);
	if (!def->arg && *value)
		return errmsg_set(why, -EINVAL, "option '%s' takes no value", def->name);
	return def->set(o, FROM_CONFIG, def->arg ? value : NULL, why);
}

/* Cuts blanks off both ends. */
static char *trim(char *line)
{
	size_t n;

	line += strspn(line, " \t");
	n = strlen(line);
	while (n && strchr(" \t\r", line[n - 1]))
		line[--n] = '\0';
	return line;
}

int options_parse_config(struct options *o, const char *name, const char *text, struct errmsg *why)
{
	struct errmsg what = {0};
	int r = 0;

	for (unsigned number = 1; *text && r == 0; number++) {
		size_t n = strcspn(text, "\n");
		CLEANUP_FREE char *copy = strndup(text, n);
		char *line;

		if (!copy)
			return no_memory(why);
		line = trim(copy);
		if (*line && *line != '#')
			r = apply_line(o, line, &what);
		if (r < 0)
			errmsg_set(why, r, "%s:%u: %s", name, number, what.text);
		text += n + (text[n] ? 1 : 0);
	}
	return r;
}

static int read_config(struct options *o, const char *path, bool must_exist, struct errmsg *why)
{
	CLEANUP_BUF struct buf b;
	int r;

	buf_init(&b, OPTIONS_CONFIG_MAX);
	if (strcmp(path, "/dev/null") == 0) /* no file at all, as for other programs */
		return 0;
	r = io_read_file(AT_FDCWD, path, &b);
	if (r == -ENOENT && !must_exist)
		return 0;
	/* Not -EINVAL ("not a regular file"): the usage is right, the file is not. */
	if (r < 0)
		return errmsg_set(why, r == -EINVAL ? -EIO : r,
				  "cannot read the configuration file %s: %s", path,
				  r == -EINVAL ? "not a regular file" : strerrordesc_np(-r));
	if (strlen(b.data) != b.len)
		return errmsg_set(why, -EINVAL, "%s: not a text file: it holds NUL bytes", path);
	return options_parse_config(o, path, b.data, why);
}

/* -- the command line -------------------------------------------------------------------- */

struct getopt_tables {
	char letters[2 * ARRAY_SIZE(defs) + 2];
	struct option longs[ARRAY_SIZE(defs) + 1];
};

/* Long options give FIRST_LONG + their place in the table. */
#define FIRST_LONG 256

static void make_tables(struct getopt_tables *t)
{
	char *at = t->letters;

	*at++ = ':'; /* a missing value is told from an unknown option */
	for (size_t i = 0; i < ARRAY_SIZE(defs); i++) {
		t->longs[i] =
			(struct option){.name = defs[i].name,
					.has_arg = defs[i].arg ? required_argument : no_argument,
					.val = FIRST_LONG + (int)i};
		if (defs[i].letter)
			*at++ = defs[i].letter;
		if (defs[i].letter && defs[i].arg)
			*at++ = ':';
	}
}

static const struct option_def *def_of(int got)
{
	if (got >= FIRST_LONG)
		return &defs[got - FIRST_LONG];
	for (size_t i = 0; i < ARRAY_SIZE(defs); i++) {
		if (defs[i].letter == got)
			return &defs[i];
	}
	return NULL;
}

static int usage_error(int got, char **argv, struct errmsg *why)
{
	const char *word = argv[optind - 1];
	bool is_long = strncmp(word, "--", 2) == 0;

	if (got == ':')
		return errmsg_set(why, -EINVAL, "option '%s' needs a value; see kvmprofs --help",
				  word);
	if (is_long && optopt)
		return errmsg_set(why, -EINVAL, "option '%s' takes no value; see kvmprofs --help",
				  word);
	if (is_long)
		return errmsg_set(why, -EINVAL,
				  "unknown or ambiguous option '%s'; see kvmprofs --help", word);
	return errmsg_set(why, -EINVAL, "unknown option '-%c'; see kvmprofs --help", optopt);
}

static bool comes_first(const struct option_def *def)
{
	return def->set == set_config || def->set == set_help || def->set == set_version;
}

/* Two rounds: the first for what decides about the second (the configuration file, which is
 * applied in between). */
static int parse_round(struct options *o, int argc, char **argv, bool first, struct errmsg *why)
{
	struct getopt_tables t = {0};
	int got, r = 0;

	make_tables(&t);
	optind = 0; /* glibc: start anew */
	opterr = 0;
	while (r == 0) {
		const struct option_def *def;

		/* Before there are threads: NOLINTNEXTLINE(concurrency-mt-unsafe) */
		got = getopt_long(argc, argv, t.letters, t.longs, NULL);
		if (got == -1)
			break;
		def = got == '?' || got == ':' ? NULL : def_of(got);
		if (!def)
			return usage_error(got, argv, why);
		if (comes_first(def) == first)
			r = def->set(o, FROM_COMMAND, optarg, why);
	}
	return r;
}

static int take_mountpoint(struct options *o, int argc, char **argv, struct errmsg *why)
{
	if (optind == argc)
		return errmsg_set(why, -EINVAL,
				  "no mount point given; usage: kvmprofs [options] "
				  "MOUNTPOINT");
	if (optind + 1 < argc)
		return errmsg_set(why, -EINVAL, "more than one mount point: '%s' and '%s'",
				  argv[optind], argv[optind + 1]);
	return keep(&o->mountpoint, argv[optind], why);
}

int options_parse(struct options *o, int argc, char **argv, const char *default_config,
		  struct errmsg *why)
{
	int r = parse_round(o, argc, argv, true, why);

	if (r < 0 || o->help || o->version)
		return r;
	if (o->config)
		r = read_config(o, o->config, true, why);
	else if (default_config)
		r = read_config(o, default_config, false, why);
	if (r == 0)
		r = parse_round(o, argc, argv, false, why);
	return r < 0 ? r : take_mountpoint(o, argc, argv, why);
}

int options_exit_status(int err)
{
	return err == -EINVAL || err == -E2BIG ? 2 : 1;
}

/* -- help -------------------------------------------------------------------------------- */

#define HELP_COLUMN 32

static void help_text(const char *text, struct buf *out)
{
	for (;;) {
		size_t n = strcspn(text, "\n");

		buf_append(out, text, n);
		buf_append_char(out, '\n');
		if (!text[n])
			return;
		buf_printf(out, "%*s", HELP_COLUMN, "");
		text += n + 1;
	}
}

static void help_option(const struct option_def *def, struct buf *out)
{
	char left[80];
	int n = snprintf(left, sizeof(left), "  %c%c%c --%s%s%s", def->letter ? '-' : ' ',
			 def->letter ? def->letter : ' ', def->letter ? ',' : ' ', def->name,
			 def->arg ? " " : "", def->arg ? def->arg : "");

	buf_printf(out, "%-*s", HELP_COLUMN, left);
	if (n >= HELP_COLUMN)
		buf_printf(out, "\n%*s", HELP_COLUMN, "");
	help_text(def->help, out);
}

void options_help(struct buf *out)
{
	buf_append_str(out, "Usage: kvmprofs [options] MOUNTPOINT\n"
			    "Every running KVM guest as a directory: its symbols, and what it is "
			    "doing.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(defs); i++)
		help_option(&defs[i], out);
	buf_append_str(out, "\nExit status: 0 mounted (in the foreground: unmounted), 1 could not "
			    "start, 2 wrong usage.\n"
			    "End it: fusermount3 -u MOUNTPOINT, umount MOUNTPOINT, or a signal.\n");
}
