/* A configuration of ssh's must not execute anything, wherever it hides the command. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/fetch.h"
#include "symsrc/source_ssh.h"
#include "tests/unit/lib/guestroot.h"

static char dir[32];

/* before and after what is in the directory */
static void write_file(const char *name, const char *before, const char *after)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	assert_non_null(f);
	fprintf(f, "%s%s/%s\n", before, dir, after);
	fclose(f);
}

static int fetch(const char *config, struct errmsg *why)
{
	struct fetch_request req = {.limits.cancel_fd = -1};
	enum source_news news;

	req.limits.deadline_ns = clock_now_ns() + 5 * NSEC_PER_SEC;
	snprintf(req.uri, sizeof(req.uri), "ssh://127.0.0.1:1?config=%s/%s", dir, config);
	return fetch_look(&req, &news, why);
}

static void test_match_exec_in_an_included_file(void **state)
{
	char ran[96];
	struct errmsg why;

	(void)state;
	assert_int_equal(source_ssh_init(NULL), 0);
	snprintf(dir, sizeof(dir), "/tmp/test_conf.XXXXXX");
	assert_non_null(mkdtemp(dir));
	write_file("a", "Include ", "b*");
	write_file("b1", "# ", "\nUser root");
	write_file("b2", "  Match exec \"touch ", "ran\"");
	write_file("fine", "Include ", "b1 none");
	write_file("round", "Include ", "round");
	assert_int_equal(fetch("a", &why), -EINVAL);
	assert_non_null(strstr(why.text, "nothing is executed here"));
	snprintf(ran, sizeof(ran), "%s/ran", dir);
	assert_int_equal(access(ran, F_OK), -1);
	assert_int_equal(fetch("round", &why), -EINVAL);
	assert_int_equal(fetch("fine", &why), -ECONNREFUSED);
	guestroot_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_match_exec_in_an_included_file)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
