/** SPDX expressions and allow-lists (export-manifest.md, section 4). */

import { quote } from '../json.js';
import { Failure } from './errors.js';
import { spdx } from './lookup.js';

/** A parsed SPDX expression. */
export type Expression =
  { operator: 'AND' | 'OR'; operands: Expression[] } | { license: string; exception: string | undefined };

const maxNesting = 16; // parentheses

/**
 * Parses an SPDX expression. Throws Failure with the code `license-malformed`.
 */
export function parseExpression(text: string): Expression {
  const parser = new Parser(text);
  const expression = parser.expression(0);
  if (parser.rest !== '') throw parser.wrong(`unexpected ${quote(parser.rest)}`);
  return expression;
}

class Parser {
  rest: string;

  constructor(private readonly text: string) {
    this.rest = text;
  }

  wrong(problem: string): Failure {
    return new Failure('license-malformed', `licence ${quote(this.text)}: ${problem}`);
  }

  expression(depth: number): Expression {
    return this.list('OR', () => this.list('AND', () => this.factor(depth)));
  }

  /** Reads operands that an operator joins. */
  private list(operator: 'AND' | 'OR', operand: () => Expression): Expression {
    const first = operand();
    const operands = [first];
    while (this.takeOperator(operator)) operands.push(operand());
    return operands.length === 1 ? first : { operator, operands };
  }

  /**
   * Skips an operator with spaces around it, and reports whether one follows.
   */
  private takeOperator(name: string): boolean {
    const match = /^ +([A-Z]+) +/.exec(this.rest);
    if (match?.[1] !== name) return false;
    this.rest = this.rest.slice(match[0].length);
    return true;
  }

  /** Skips a text, and reports whether it follows. */
  private take(text: string): boolean {
    if (!this.rest.startsWith(text)) return false;
    this.rest = this.rest.slice(text.length);
    return true;
  }

  private spaces(): void {
    this.rest = this.rest.replace(/^ +/, '');
  }

  private factor(depth: number): Expression {
    if (!this.take('(')) return this.atom();
    if (depth === maxNesting) throw this.wrong(`more than ${maxNesting} parentheses within each other`);
    this.spaces();
    const inner = this.expression(depth + 1);
    this.spaces();
    if (!this.take(')')) throw this.wrong('a parenthesis is not closed');
    return inner;
  }

  private atom(): Expression {
    const license = this.license();
    return { license, exception: this.takeOperator('WITH') ? this.idstring() : undefined };
  }

  private license(): string {
    const id = this.idstring();
    if (id.startsWith('DocumentRef-')) {
      if (id === 'DocumentRef-' || !this.take(':')) throw this.wrong(`${id} is not followed by a LicenseRef`);
      return `${id}:${this.reference(this.idstring())}`;
    }
    if (id.startsWith('LicenseRef-')) return this.reference(id);
    return this.take('+') ? `${id}+` : id;
  }

  private reference(id: string): string {
    if (!id.startsWith('LicenseRef-') || id === 'LicenseRef-') throw this.wrong(`${quote(id)} is not a LicenseRef`);
    return id;
  }

  private idstring(): string {
    const [id = ''] = /^[A-Za-z0-9.-]*/.exec(this.rest) ?? [];
    if (id === '') throw this.wrong('a licence is missing');
    if (['AND', 'OR', 'WITH'].includes(id)) throw this.wrong(`${id} is an operator`);
    this.rest = this.rest.slice(id.length);
    return id;
  }
}

/**
 * Throws Failure with the code `license-unknown` unless all parts are known.
 */
export function checkKnown(expression: Expression): void {
  if ('operator' in expression) {
    expression.operands.forEach(checkKnown);
    return;
  }
  const { license, exception } = expression;
  const { version, licenses, exceptions } = spdx();
  if (!/^(LicenseRef|DocumentRef)-/.test(license) && !licenses.has(license.replace(/\+$/, '')))
    throw new Failure('license-unknown', `${quote(license)} is not a licence of the SPDX list ${version}`);
  if (exception !== undefined && !exceptions.has(exception))
    throw new Failure('license-unknown', `${quote(exception)} is not an exception of the SPDX list ${version}`);
}

/** Returns the text of an atom, or undefined for others. */
function textOf(expression: Expression): string | undefined {
  if ('operator' in expression) return undefined;
  const { license, exception } = expression;
  return exception === undefined ? license : `${license} WITH ${exception}`;
}

/** Reports whether a list of texts allows the expression. */
export function isAllowed(expression: Expression, list: ReadonlySet<string>): boolean {
  if (!('operator' in expression)) return list.has(textOf(expression) ?? '');
  const allowed = (one: Expression) => isAllowed(one, list);
  return expression.operator === 'AND' ? expression.operands.every(allowed) : expression.operands.some(allowed);
}

/** Throws Failure unless the text is that of an atom with known parts. */
export function checkAtom(text: string): void {
  const expression = parseExpression(text);
  checkKnown(expression);
  if (textOf(expression) !== text) throw new Failure('requirement-malformed', `${quote(text)} is not a single licence`);
}
