/* PID/flamegraph.svg: guest, objects and symbols as boxes as wide as their samples, and the hottest
 * symbols as a list. One SVG file that needs nothing else: a browser shows it as it stands, its
 * script adds zoom and search. What would be too narrow to be seen is summed, so that the file
 * stays small whatever the guest does. */
#include "fs/render.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lengths are in pixels, but for what is _PARTS: hundredths of one. */
#define PARTS	    UINT64_C(100)
#define WIDTH	    1200
#define MARGIN	    24
#define FLAMES	    (WIDTH - 2 * MARGIN)
#define TOP	    116 /* of the first row of boxes */
#define BOX	    40
#define STEP	    (BOX + 2)
#define LIST_TOP    (TOP + 3 * STEP + 64)
#define LINE	    25
#define LIST_ROWS   24
#define NAME_CHARS  72 /* of the guest's, in the font of the title */
#define BAR	    260
#define LEAST_PARTS 25 /* narrower boxes are summed */
/* As in the script below. */
#define CHAR_PARTS  730 /* of the monospaced font at 12 px, with a little room */
#define PADDING	    6
#define TEXT_FROM   20	/* narrower boxes have none */
#define LEAST_CHARS 4	/* of a name that is cut */
#define EDGE_PARTS  300 /* narrower boxes have no edge, which would cover them */

#define MODULE_COLOURS 6

static const char style[] =
	":root{color-scheme:light "
	"dark;--bg:#fff;--fg:#1c2128;--dim:#57606a;--line:#d0d7de;--all:#e4e8ed;"
	"--k:#f7b26a;--u:#93d3a2;--x:#cdd2d9;--m0:#8cc8ec;--m1:#beb8f5;--m2:#f3b1cb;--m3:#93dccb;"
	"--m4:#e8d075;--m5:#c4d98a;--hit:#b4178a;max-width:100%;height:auto;background:var(--bg)}\n"
	"@media(prefers-color-scheme:dark){:root{--bg:#12161c;--fg:#e9edf1;--dim:#9ea7b3;--line:#"
	"343b45;"
	"--all:#2c333d;--k:#9c5216;--u:#2b7343;--x:#4b535e;--m0:#1d658f;--m1:#574eaa;--m2:#903f65;"
	"--m3:#1b7260;--m4:#796216;--m5:#566d25;--hit:#ff8ade}}\n"
	"text{font:13px system-ui,-apple-system,'Segoe UI','DejaVu "
	"Sans',sans-serif;fill:var(--fg)}\n"
	".t{font-size:22px;font-weight:600}.d{fill:var(--dim)}.h{font-weight:600;font-size:14px}.e{"
	"text-anchor:end;"
	"font-variant-numeric:tabular-nums}\n"
	".f text,.c{font:12px ui-monospace,'DejaVu Sans "
	"Mono',Menlo,Consolas,monospace}.f{cursor:pointer}\n"
	".f rect{stroke:var(--bg);stroke-width:1}.n rect{stroke:none}.f:hover "
	"rect{stroke:var(--fg)}\n"
	".a rect{fill:var(--all)}.k rect,.k.b{fill:var(--k)}.u rect,.u.b{fill:var(--u)}\n"
	".x rect,.o rect,.x.b{fill:var(--x)}.o rect{opacity:.75}\n"
	".m0 rect,.m0.b{fill:var(--m0)}.m1 rect,.m1.b{fill:var(--m1)}.m2 "
	"rect,.m2.b{fill:var(--m2)}\n"
	".m3 rect,.m3.b{fill:var(--m3)}.m4 rect,.m4.b{fill:var(--m4)}.m5 "
	"rect,.m5.b{fill:var(--m5)}\n"
	".hit rect{stroke:var(--hit);stroke-width:3}.r.hit text{fill:var(--hit)}.miss{opacity:.3}\n"
	".g{stroke:var(--line)}input{box-sizing:border-box;width:100%;height:32px;padding:0 "
	"10px;font:13px system-ui,"
	"sans-serif;color:var(--fg);background:var(--bg);border:1px solid "
	"var(--line);border-radius:6px}\n";

/* Without it the picture stands, and hovering shows the titles. */
static const char script[] =
	"const M=24,P=1152,all=s=>[...document.querySelectorAll(s)],at=(e,n)=>+e.getAttribute(n);\n"
	"const "
	"say=document.getElementById('say'),q=document.getElementById('q'),hint=say.textContent;\n"
	"const "
	"title=e=>e.querySelector('title').textContent,name=e=>title(e).split('\\n')[0].split(' "
	"')[0];\n"
	"const "
	"frames=all('.f').map(e=>({e,x:at(e,'x')-M,w:at(e,'width'),t:e.querySelector('text')}));\n"
	"let found='';\n"
	"function label(f,w){\n"
	" if(!f.t){if(w<20)return;f.t=document.createElementNS('http://www.w3.org/2000/"
	"svg','text');\n"
	"  f.t.setAttribute('x',6);f.t.setAttribute('y',25);f.e.append(f.t);}\n"
	" const s=f.e.dataset.t||name(f.e),n=Math.floor((w-12)/7.3);\n"
	" f.t.textContent=s.length<=n?s:n<4?'':s.slice(0,n-1)+'\\u2026';\n"
	"}\n"
	"function zoom(x,w){\n"
	" for(const f of frames){\n"
	"  const a=Math.max(0,(f.x-x)/w*P),b=Math.min(P,(f.x+f.w-x)/w*P);\n"
	"  f.e.style.display=b-a>.05?'':'none';\n"
	"  if(b-a<=.05)continue;\n"
	"  "
	"f.e.setAttribute('x',M+a);f.e.setAttribute('width',b-a);f.e.classList.toggle('n',b-a<3);"
	"label(f,b-a);\n"
	" }\n"
	"}\n"
	"function search(){\n"
	" const s=q.value.toLowerCase();let n=0;\n"
	" for(const e of all('.s,.r')){\n"
	"  const hit=s!==''&&name(e).toLowerCase().includes(s);\n"
	"  e.classList.toggle('hit',hit);e.classList.toggle('miss',s!==''&&!hit);\n"
	"  if(hit&&e.matches('.s'))n+=+e.dataset.n;\n"
	" }\n"
	" const whole=+document.documentElement.dataset.n||1;\n"
	" found=s===''?'':'\\u201c'+q.value+'\\u201d: '+(100*n/whole).toFixed(2)+'%, '+n+' "
	"samples';\n"
	" say.textContent=found||hint;\n"
	"}\n"
	"for(const f of frames){\n"
	" f.e.addEventListener('mouseover',()=>{say.textContent=title(f.e).replace('\\n',' \\u2014 "
	"')});\n"
	" f.e.addEventListener('mouseout',()=>{say.textContent=found||hint});\n"
	" f.e.addEventListener('click',()=>zoom(f.x,f.w));\n"
	"}\n"
	"q.addEventListener('input',search);\n"
	"document.addEventListener('keydown',e=>{\n"
	" if(e.key==='/'&&e.target!==q){q.focus();e.preventDefault();}\n"
	" if(e.key==='Escape'){q.value='';search();zoom(0,P);}\n"
	"});\n";

static const struct render_quote xml_quotes[] = {{'<', "&lt;"},	  {'>', "&gt;"},   {'&', "&amp;"},
						 {'"', "&quot;"}, {'\'', "&#39;"}, {0}};

static void text(struct buf *out, const char *s)
{
	render_quoted(out, s, xml_quotes);
}

struct flames {
	struct buf *out;
	uint64_t whole; /* samples; at least 1 */
};

static void percent(const struct flames *f, uint64_t samples)
{
	render_percent(f->out, 0, samples, f->whole);
	buf_append_char(f->out, '%');
}

/* How far right the sample of this number is, in hundredths of a pixel. */
static uint64_t parts(const struct flames *f, uint64_t samples)
{
	__extension__ typedef unsigned __int128 wide;

	return (uint64_t)((wide)samples * FLAMES * PARTS / f->whole);
}

static const char *colour_of(const char *object)
{
	static const char *const modules[MODULE_COLOURS] = {"m0", "m1", "m2", "m3", "m4", "m5"};
	uint32_t hash = 2166136261; /* FNV-1a: a module looks the same in every picture */

	if (strcmp(object, PROFILE_OBJECT_KERNEL) == 0)
		return "k";
	if (strcmp(object, PROFILE_SYMBOL_USER) == 0)
		return "u";
	if (strcmp(object, PROFILE_OBJECT_UNKNOWN) == 0)
		return "x";
	for (; *object; object++)
		hash = (hash ^ (unsigned char)*object) * 16777619;
	return modules[(hash >> 20) % MODULE_COLOURS];
}

/* -- boxes ------------------------------------------------------------------------------- */

struct box {
	unsigned row;
	uint64_t from, samples;
	const char *class, *colour;
	const char *name;
	const char *of; /* its object, or NULL */
};

/* As much of the name as the box has room for. */
static void label(struct buf *out, const char *name, uint64_t width_parts)
{
	size_t fit, n = strlen(name);
	char cut[FLAMES];

	if (width_parts < TEXT_FROM * PARTS)
		return;
	fit = (size_t)((width_parts - 2 * PARTS * PADDING) / CHAR_PARTS);
	if (n > fit && fit < LEAST_CHARS)
		return;
	if (fit >= sizeof(cut))
		fit = sizeof(cut) - 1;
	buf_printf(out, "<text x=\"%d\" y=\"25\">", PADDING);
	snprintf(cut, sizeof(cut), "%.*s", (int)(n <= fit ? n : fit - 1), name);
	text(out, cut);
	buf_append_str(out, n <= fit ? "</text>" : "\xe2\x80\xa6</text>");
}

/* A box is an svg of its own, which cuts off what hangs over. */
static void put_box(const struct flames *f, const struct box *b)
{
	uint64_t x = MARGIN * PARTS + parts(f, b->from);
	uint64_t width = parts(f, b->from + b->samples) - parts(f, b->from);
	struct buf *out = f->out;

	buf_printf(out, "<svg class=\"f %s %s%s\" data-n=\"%" PRIu64 "\" x=\"%u.%02u\" y=\"%u\" ",
		   b->class, b->colour, width < EDGE_PARTS ? " n" : "", b->samples,
		   (unsigned)(x / 100), (unsigned)(x % 100), TOP + b->row * STEP);
	buf_printf(out, "width=\"%u.%02u\" height=\"%d\"", (unsigned)(width / 100),
		   (unsigned)(width % 100), BOX);
	if (strchr(b->name, ' ')) { /* the script takes the first word of the title */
		buf_append_str(out, " data-t=\"");
		text(out, b->name);
		buf_append_char(out, '"');
	}
	buf_append_str(out, "><title>");
	text(out, b->name);
	if (b->of) {
		buf_append_char(out, ' ');
		text(out, b->of);
	}
	buf_printf(out, "\n%" PRIu64 " samples, ", b->samples);
	percent(f, b->samples);
	buf_append_str(out, "</title><rect width=\"100%\" height=\"100%\"/>");
	label(out, b->name, width);
	buf_append_str(out, "</svg>\n");
}

static bool is_narrow(const struct flames *f, uint64_t samples)
{
	return parts(f, samples) < LEAST_PARTS;
}

/* What was too narrow, in one box unless that is too narrow still. */
static void put_others(const struct flames *f, unsigned row, uint64_t from, uint64_t samples,
		       size_t count, const char *what)
{
	char name[64];

	if (is_narrow(f, samples))
		return;
	snprintf(name, sizeof(name), "%zu more %s", count, what);
	put_box(f, &(struct box){.row = row,
				 .from = from,
				 .samples = samples,
				 .class = "o",
				 .colour = "x",
				 .name = name});
}

static void put_symbols(const struct flames *f, const struct render_object *o, uint64_t from)
{
	uint64_t end = from + o->samples;
	size_t i = 0;

	for (; i < o->count && !is_narrow(f, o->rows[i]->samples) && !f->out->err; i++) {
		put_box(f, &(struct box){.row = 2,
					 .from = from,
					 .samples = o->rows[i]->samples,
					 .class = "s",
					 .colour = colour_of(o->name),
					 .name = o->rows[i]->symbol,
					 .of = o->name});
		from += o->rows[i]->samples;
	}
	put_others(f, 2, from, end - from, o->count - i, "symbols");
}

static void put_objects(const struct flames *f, const struct render_objects *objects)
{
	uint64_t from = 0, rest = 0;
	size_t i = 0;

	for (; i < objects->count && !is_narrow(f, objects->list[i].samples); i++) {
		const struct render_object *o = &objects->list[i];

		put_box(f, &(struct box){.row = 1,
					 .from = from,
					 .samples = o->samples,
					 .class = "j",
					 .colour = colour_of(o->name),
					 .name = o->name});
		put_symbols(f, o, from);
		from += o->samples;
	}
	for (size_t k = i; k < objects->count; k++)
		rest += objects->list[k].samples;
	put_others(f, 1, from, rest, objects->count - i, "objects");
}

/* -- around them ------------------------------------------------------------------------- */

static void put_start(const struct flames *f, const struct guest *g, const struct profile *p,
		      size_t rows)
{
	unsigned height = LIST_TOP + (unsigned)rows * LINE + MARGIN;

	buf_printf(f->out,
		   "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		   "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%u\" "
		   "viewBox=\"0 0 %d %u\" data-n=\"%" PRIu64 "\">\n<title>",
		   WIDTH, height, WIDTH, height, p->samples);
	text(f->out, g->name);
	buf_append_str(f->out, " - kvmprofs</title>\n<style>\n");
	buf_append_str(f->out, style);
	buf_append_str(f->out, "</style>\n<rect width=\"100%\" height=\"100%\" "
			       "style=\"fill:var(--bg)\"/>\n");
}

static void put_sampling(struct buf *out, const struct profile *p)
{
	buf_append_str(out, render_sampler_name(p->sampler));
	if (p->event[0]) {
		buf_append_str(out, ": ");
		text(out, p->event);
		buf_printf(out, " at %u Hz", p->freq);
	}
	if (p->paused)
		buf_append_str(out, ", paused now");
	if (p->lost)
		buf_printf(out, ", %" PRIu64 " lost", p->lost);
}

/* At most this many characters of it. */
static void put_cut(struct buf *out, const char *s, size_t most)
{
	char cut[256];
	size_t n = strlen(s);

	snprintf(cut, sizeof(cut), "%.*s", (int)(n <= most ? n : most - 1), s);
	text(out, cut);
	if (n > most)
		buf_append_str(out, "\xe2\x80\xa6");
}

static void put_header(const struct flames *f, const struct guest *g, const struct profile *p,
		       const struct render_when *when)
{
	struct buf *out = f->out;

	buf_printf(out, "<text class=\"t\" x=\"%d\" y=\"44\">", MARGIN);
	put_cut(out, g->name, NAME_CHARS);
	if (p->slice.vcpu)
		buf_printf(out, ", vCPU %d", slice_vcpu(&p->slice));
	buf_printf(out,
		   "</text>\n<text class=\"d\" x=\"%d\" y=\"70\">pid %d \xc2\xb7 %" PRIu64
		   " samples in ",
		   MARGIN, (int)g->pid, p->samples);
	render_seconds(out, render_length_ns(p));
	buf_append_str(out, " since ");
	render_date(out, when, p->since_ns);
	buf_append_str(out, " \xc2\xb7 ");
	put_sampling(out, p);
	buf_append_str(out, "</text>\n");
}

static void put_key(const struct flames *f, unsigned x, const char *colour, const char *what,
		    uint64_t samples, const char *more)
{
	buf_printf(f->out,
		   "<rect class=\"b %s\" x=\"%u\" y=\"87\" width=\"12\" height=\"12\" rx=\"2\"/>"
		   "<text class=\"d\" x=\"%u\" y=\"98\">%s ",
		   colour, x, x + 18, what);
	percent(f, samples);
	buf_printf(f->out, "%s</text>\n", more);
}

static void put_legend(const struct flames *f, const struct profile *p)
{
	struct buf *out = f->out;

	put_key(f, MARGIN, "k", "guest kernel", p->guest_kernel, " (modules in other colours)");
	put_key(f, MARGIN + 370, "u", "guest user", p->guest_user, "");
	put_key(f, MARGIN + 530, "x", "without a symbol", p->unresolved, "");
	buf_printf(out,
		   "<foreignObject x=\"%d\" y=\"70\" width=\"240\" height=\"32\"><input "
		   "xmlns=\"http://www.w3.org/1999/xhtml\" id=\"q\" type=\"search\" "
		   "placeholder=\"Search symbols ( / )\" aria-label=\"Search symbols\"/>"
		   "</foreignObject>\n",
		   WIDTH - MARGIN - 240);
}

/* -- the list ---------------------------------------------------------------------------- */

static void put_line(const struct flames *f, const struct profile_row *r, uint64_t hottest,
		     unsigned y)
{
	struct buf *out = f->out;
	unsigned bar = (unsigned)(parts(f, r->samples) * BAR / (parts(f, hottest) + 1));

	buf_append_str(out, "<g class=\"r\"><title>");
	text(out, r->symbol);
	buf_append_char(out, ' ');
	text(out, r->object);
	buf_printf(out, "</title><text class=\"e\" x=\"%d\" y=\"%u\">", MARGIN + 64, y + 16);
	percent(f, r->samples);
	buf_printf(out,
		   "</text><rect class=\"b %s\" x=\"%d\" y=\"%u\" width=\"%u\" height=\"16\" "
		   "rx=\"2\"/>",
		   colour_of(r->object), MARGIN + 80, y + 4, bar ? bar : 1);
	buf_printf(out, "<text class=\"c\" x=\"%d\" y=\"%u\">", MARGIN + 80 + BAR + 16, y + 16);
	put_cut(out, r->symbol, 64);
	buf_printf(out, "</text><text class=\"c d\" x=\"%d\" y=\"%u\">", WIDTH - MARGIN - 290,
		   y + 16);
	put_cut(out, r->object, 39);
	buf_append_str(out, "</text></g>\n");
}

static void put_list(const struct flames *f, const struct profile *p, size_t rows)
{
	if (rows == 0)
		return;
	buf_printf(f->out,
		   "<line class=\"g\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>"
		   "<text class=\"h\" x=\"%d\" y=\"%d\">Hottest symbols</text>\n",
		   MARGIN, WIDTH - MARGIN, LIST_TOP - 32, LIST_TOP - 32, MARGIN, LIST_TOP - 8);
	for (size_t i = 0; i < rows; i++)
		put_line(f, &p->rows[i], p->rows[0].samples, LIST_TOP + (unsigned)i * LINE);
}

static const char *hint_of(const struct profile *p)
{
	return p->row_count ? "A click zooms in, on the guest out again." : "No samples yet.";
}

static void put_flames(const struct flames *f, const struct guest *g, const struct profile *p,
		       const struct render_objects *objects)
{
	if (p->row_count)
		put_box(f,
			&(struct box){
				.samples = f->whole, .class = "a", .colour = "a", .name = g->name});
	put_objects(f, objects);
	buf_printf(f->out, "<text id=\"say\" class=\"d\" x=\"%d\" y=\"%d\">%s</text>\n", MARGIN,
		   TOP + 3 * STEP + 18, hint_of(p));
}

/* Rows may be less than the samples, when the table was full; never the other way round, but
 * nothing here depends on it. */
static uint64_t whole_of(const struct profile *p, const struct render_objects *objects)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < objects->count; i++)
		sum += objects->list[i].samples;
	if (sum < p->samples)
		sum = p->samples;
	return sum ? sum : 1;
}

int render_flamegraph(const struct guest *guest, const struct profile *profile,
		      const struct render_when *when, struct buf *out)
{
	size_t rows = profile->row_count < LIST_ROWS ? profile->row_count : LIST_ROWS;
	struct flames f = {.out = out};
	struct render_objects objects;
	int r = render_objects_make(profile, &objects);

	if (r < 0)
		return r;
	f.whole = whole_of(profile, &objects);
	put_start(&f, guest, profile, rows);
	put_header(&f, guest, profile, when);
	put_legend(&f, profile);
	put_flames(&f, guest, profile, &objects);
	put_list(&f, profile, rows);
	buf_append_str(out, "<script><![CDATA[\n");
	buf_append_str(out, script);
	buf_append_str(out, "]]></script>\n</svg>\n");
	render_objects_free(&objects);
	return out->err;
}
