/* --input: the recording that is served in the place of live guests. */
#ifndef KVMPROFS_INPUT_H
#define KVMPROFS_INPUT_H

#include "fs/options.h"
#include "profiler/perfdata/recording.h"
#include "symsrc/base/errmsg.h"
#include "symsrc/symsrc.h"

#define INPUT_WAIT_MS 5000 /* for the symbols of one guest after those of another */

struct input {
	struct recording *recording; /* NULL: none */
	const struct guest **guests;
	int guest_count;
	/* A rule for each guest: what the options say, or what perf's cache of build-ids has. */
	struct source_rule *rules;
	size_t rule_count;
};

/* Reads the recording that the options name, which may take a while: a terminal at standard error
 * is told how far it is. Without one, *ret is empty. 0, or negative errno and why. */
int input_read(const struct options *o, struct input *ret, struct errmsg *why);

/* Waits until the symbols of its guests are here, or could not be had, so that the first reader
 * finds names; a terminal is told how far that is. A guest may keep the others waiting for
 * INPUT_WAIT_MS: whose symbols come later than that are loaded behind the mount, and said to be. So
 * is, with the reason, whose could not be had.
 * caller_fd: the pipe to whoever waits for the mount; -1: nobody does. 0, or negative errno and
 * why: -EINTR when a signal wants the process to end, or that caller is gone. */
int input_await_symbols(const struct input *in, struct symsrc *s, int caller_fd,
			struct errmsg *why);
void input_deinit(struct input *in);

#endif
