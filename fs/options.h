/* The command line and the configuration file: one table for both, and for --help. */
#ifndef KVMPROFS_OPTIONS_H
#define KVMPROFS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "profiler/profiler.h"
#include "symsrc/base/buf.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/symsrc.h"

#define OPTIONS_DEFAULT_CONFIG "/etc/kvmprofs.conf"
#define OPTIONS_DEFAULT_FREQ   997
#define OPTIONS_FREQ_MAX       100000
#define OPTIONS_CONFIG_MAX     (1u << 20) /* bytes of a configuration file */
#define OPTIONS_LIST_MAX       4096	  /* sources, or pids */

struct options {
	bool foreground;
	bool debug;
	bool help;
	bool version;
	char *event;
	bool event_of_command;
	unsigned freq;
	bool freq_given; /* else it may be less, where the kernel does not allow it */
	enum sampler_choice sampler;
	enum exits_choice exits;
	char live_only[64]; /* those of the command line that are for live guests alone: "--freq,
			     * --exits"; empty: none */
	struct source_rule *rules; /* those of the command line first */
	size_t rule_count;
	size_t rules_of_command; /* how many of them are from the command line */
	pid_t *pids;
	size_t pid_count;
	bool pids_of_command;
	char *input;
	bool input_of_command;
	char *config;
	char *fuse_options;  /* joined by commas; NULL: none */
	mode_t symbols_mode; /* 0: not given */
	gid_t gid;	     /* (gid_t)-1: not given */
	char *mountpoint;
};

/* Sets the defaults. */
void options_init(struct options *o);
void options_deinit(struct options *o);

/* Reads the command line and the configuration file: --config FILE, or default_config if that
 * exists (NULL: none). What the command line says wins; its sources come first. 0, or negative
 * errno and why; options_exit_status() says which exit status that means. Permutes argv.
 * With help or version set nothing else was checked. Not thread-safe, as getopt_long(3) is
 * not. */
int options_parse(struct options *o, int argc, char **argv, const char *default_config,
		  struct errmsg *why);

/* The text of a configuration file, by itself: `name value` or `name=value` a line. name: of the
 * file, for the message "NAME:LINE: what". */
int options_parse_config(struct options *o, const char *name, const char *text, struct errmsg *why);

/* 2 for wrong usage, 1 for what is right but cannot be done. */
int options_exit_status(int err);

/* What --help prints. */
void options_help(struct buf *out);

/* The long name of option i, or NULL past the last one: for the tests of the manual. */
const char *options_name(size_t i);

#endif
