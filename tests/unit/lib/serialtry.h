/* Tries at a guest's serial port, for the tests of both programs that answer there. */
#ifndef KVMPROFS_TESTS_SERIALTRY_H
#define KVMPROFS_TESTS_SERIALTRY_H

#include <sys/types.h>

#include "symsrc/source.h"
#include "tests/unit/lib/collect.h"

struct attempt {
	char uri[SOURCE_URI_MAX];
	struct source_target target; /* pid 1, without a UUID */
	struct source_limits limits;
	struct source_sink sink; /* into got, unless the test has another one */
	struct collect got;
	struct errmsg why;
	struct source_mark mark; /* in and out */
	struct blob *had;	 /* struct source */
	struct serial_ear *ear;	 /* likewise, of the last try */
	char used[SOURCE_USED_MAX], how[SOURCE_HOW_MAX];
	int result;
	double seconds;
};

void try_init(struct attempt *t, const char *path);
void try_deinit(struct attempt *t);

/* Fetches; want 0: looks (fetch_look()), and the result is the news. */
void try_run(struct attempt *t, unsigned want);

void assert_why(const struct attempt *t, int code, const char *text);
void assert_worked(const struct attempt *t);

/* All of a guestroot has come. */
void assert_whole_guest(const struct attempt *t);

/* What comes from there is this machine's kallsyms, byte for byte. */
void assert_this_machine(const char *path);

/* Fetched from the guestroot and looked at while it changes. */
void assert_looks(struct attempt *t, const char *root);

/* A client of somebody else's. */
int other_client(const char *path);
void say(int fd, const char *text);
/* Reads until the text has come, and perhaps a little more. Returns how many bytes. */
size_t hear(int fd, const char *text);
/* The same, and before it the other text has not come. */
void hear_without(int fd, const char *text, const char *other);
/* The same up to the end of its line. Returns the number that follows the text. */
long hear_number(int fd, const char *text);

/* A sink that stops a fetch in the middle of kallsyms, one way or another. */
struct stopper {
	int wake;      /* woken, if it is one */
	pid_t *victim; /* killed, if there is one */
	int fail;      /* returned */
	size_t after;  /* bytes of kallsyms */
	bool counts;
};
struct source_sink stopper_sink(struct stopper *s);

#endif
